"""Ensembles of prompts: each member against the same prompt trained and asked alone."""

import math

import pytest
import torch
from pydantic import ValidationError

from peftbench.adapters import saved, starts
from peftbench.adapters.peft import write
from peftbench.adapters.side_by_side import SideBySide
from peftbench.costs.describe import describe
from peftbench.costs.of_model import Workload, model_costs
from peftbench.errors import MethodError
from peftbench.learners import tune
from peftbench.methods import prompt_tuning
from peftbench.scoring.ranking import predict
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring, Training
from tests.learners.toy import RAGGED, ROWS, TEMPLATE, scoring
from tests.scoring.prompts import example
from tests.tiny import tiny_backbone

EXAMPLES = [[template.render(row) for template in (TEMPLATE, RAGGED)] for row in ROWS[:4]]
QUERIES = [template.render(row) for row in ROWS[4:9] for template in (TEMPLATE, RAGGED)]
FAR = {"num_virtual_tokens": 4, "init": "uniform", "uniform_bound": 3.0}
ENSEMBLE, ALONE = prompt_tuning.Config(num_prompts=3, **FAR), prompt_tuning.Config(**FAR)


def learn(backbone, config, **training):
    # The gradients of this loss are clipped in every step.
    settings = {"num_steps": 5, "batch_size": 3, "lr": 0.3, "scale_parameter": False, "max_grad_norm": 0.1} | training
    return tune.learn(tune.Tuning("prompt_tuning", config, Training(**settings), EXAMPLES), backbone, scoring(backbone))


def prompts(backbone):
    return [prompt.detach().clone() for prompt in backbone.soft_prompt.parameters()]


def initial_prompts(backbone, config=ENSEMBLE):
    torch.manual_seed(0)
    prompt_tuning.attach(backbone, config)
    found = prompts(backbone)
    backbone.detach_all()
    return found


@pytest.mark.parametrize(("family", "optimizer"), [("t5", "adafactor"), ("gpt2", "adamw")])
def test_each_prompt_learns_and_votes_as_it_does_alone(family, optimizer, monkeypatch):
    backbone = tiny_backbone(family)
    begun = initial_prompts(backbone)
    together = learn(backbone, ENSEMBLE, optimizer=optimizer)
    trained = prompts(backbone)
    found = together.score(QUERIES).choices
    losses = [step["loss"] for step in together.log]
    scored, alone = [], []
    for start, expected in zip(begun, trained, strict=True):
        backbone.detach_all()
        monkeypatch.setattr(prompt_tuning, "_start", lambda *_, start=start: start.clone())
        predictor = learn(backbone, ALONE, optimizer=optimizer)
        torch.testing.assert_close(prompts(backbone), [expected], atol=1e-6, rtol=1e-5)
        scored.append(predictor.score(QUERIES).choices)
        alone.append([step["loss"] for step in predictor.log])
    for choices, members in zip(found, zip(*scored, strict=True), strict=True):
        answers = [predict(member) for member in members]
        assert [choice.ranked["token"] for choice in choices] == [answers.count(i) for i in range(len(choices))]
        for choice, each in zip(choices, zip(*members, strict=True), strict=True):
            assert math.exp(choice.log_prob) == pytest.approx(sum(math.exp(one.log_prob) for one in each) / 3, rel=1e-4)
    assert losses == pytest.approx([sum(step) / 3 for step in zip(*alone, strict=True)], abs=1e-5)


def test_batches_that_end_in_the_middle_of_an_example_give_each_row_its_own_prompt():
    backbone = tiny_backbone("t5")
    prompt_tuning.attach(backbone, ENSEMBLE)
    asked = [example(query.input, query.choices) for query in QUERIES]
    whole, cut = (
        score(backbone, asked, Scoring(end="eos", separator="\n\n"), token_budget=budget) for budget in (10_000, 80)
    )
    assert any(run.encoder_rows % 3 for run in cut.work.passes)
    for some, others in zip(whole.choices, cut.choices, strict=True):
        assert [one.ranked for one in some] == [one.ranked for one in others]
        assert [one.log_prob for one in some] == pytest.approx([one.log_prob for one in others], abs=1e-5)


def test_progress_is_told_of_examples_not_of_rows():
    backbone, told = tiny_backbone("gpt2"), []
    prompt_tuning.attach(backbone, ENSEMBLE)
    asked = [example(query.input, query.choices) for query in QUERIES]
    score(backbone, asked, Scoring(end="none", separator="\n\n"), token_budget=80, progress=told.append)
    assert sum(told) == len(asked)
    assert min(told) > 0


def test_prompts_of_an_ensemble_start_differently_and_the_first_as_one_alone():
    backbone = tiny_backbone("llama")
    first, second, third = initial_prompts(backbone)
    assert torch.equal(initial_prompts(backbone, ALONE)[0], first)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_saved_and_loaded_it_votes_as_before(tmp_path):
    backbone = tiny_backbone("t5")
    predictor = learn(backbone, ENSEMBLE)
    saved.save(tmp_path / "a", backbone, "prompt_tuning", ENSEMBLE, predictor.names)
    before = predictor.score(QUERIES).choices
    backbone.detach_all()
    assert saved.load(tmp_path / "a", backbone) == predictor.names
    assert predictor.score(QUERIES).choices == before
    start = starts.read(tmp_path / "a")
    assert start.settings("prompt_tuning", {})["num_prompts"] == 3
    with pytest.raises(MethodError, match="has num_prompts = 3, and num_prompts = 1 was asked for"):
        start.settings("prompt_tuning", {"num_prompts": 1})


def test_a_query_costs_as_often_as_there_are_prompts_and_so_does_a_step():
    work, strategies = Workload(shots=0), []
    for config in (ALONE, ENSEMBLE):
        strategies.append(
            model_costs(describe("mini-gpt"), work, {"prompt_tuning": config}, strict=True).strategies[-1]
        )
    alone, ensemble = strategies
    for name, kind in (("inference_flops_per_query", "counted"), ("inference_flops_per_query", "estimated"),
                       ("training_flops", "counted"), ("training_flops", "estimated"),
                       ("tensor_bytes", "counted"), ("activation_bytes", "counted")):  # fmt: skip
        assert ensemble.value(name, kind) == 3 * alone.value(name, kind), name


def test_one_prompt_is_no_setting_that_records_know():
    assert "num_prompts" not in ALONE.model_dump()
    assert ENSEMBLE.model_dump()["num_prompts"] == 3


@pytest.mark.parametrize("wrong", [{"num_prompts": 0}, {"num_prompts": 2, "init": "text", "text": "hello"}])
def test_settings_that_make_no_ensemble_are_refused(wrong):
    with pytest.raises(ValidationError):
        prompt_tuning.Config(**wrong)


def test_labels_that_fill_all_prompts_alike_are_refused():
    with pytest.raises(MethodError, match="gives all 2 prompts the same start"):
        learn(tiny_backbone("t5"), prompt_tuning.Config(num_virtual_tokens=2, num_prompts=2, init="labels"))


def test_what_has_no_place_for_an_ensemble_says_so_in_a_line(tmp_path):
    backbone = tiny_backbone("t5")
    for name, config in (("many", ENSEMBLE), ("one", ALONE)):
        names = prompt_tuning.attach(backbone, config)
        saved.save(tmp_path / name, backbone, "prompt_tuning", config, names)
        backbone.detach_all()
    with pytest.raises(MethodError, match="run with 3 prompts"):
        SideBySide(backbone, [tmp_path / "one", tmp_path / "many"])
    with pytest.raises(MethodError, match="peft has no form"):
        write.export(tmp_path / "many", backbone, tmp_path / "out")
