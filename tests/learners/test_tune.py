"""Tuning on tiny models: what is drawn, what is trained, what is counted, and that it can be repeated."""

import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from peftbench import registry
from peftbench.errors import ModelError, RunError
from peftbench.learners import tune
from peftbench.scoring.encoding import encode
from peftbench.scoring.ranking import predict
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring, Training
from peftbench.tasks.task import Row
from tests.learners.toy import RAGGED, ROWS, TEMPLATE, scoring
from tests.tiny import tiny_backbone

SHOTS = ROWS[:6]
FAST = {"num_steps": 6, "batch_size": 4, "lr": 0.05, "scale_parameter": False}


def learn(
    backbone, method="ia3", *, shots=SHOTS, templates=(TEMPLATE, RAGGED), seed=0, progress=None, cut=None, start=None,
    **settings
):  # fmt: skip
    config = registry.method(method).Config()
    training = Training(**{**FAST, **settings})
    rule = scoring(backbone, max_input_tokens=cut)
    tuning = tune.Tuning(method, config, training, rendered(shots, templates), seed, start)
    return tune.learn(tuning, backbone, rule, progress)


def rendered(shots, templates):
    return [[template.render(each) for template in templates] for each in shots]


def totals(predictor):
    return [values["loss"] for values in predictor.log]


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
def test_it_learns_the_shots(family):
    backbone = tiny_backbone(family)
    predictor = learn(backbone, "full", templates=[TEMPLATE], num_steps=40, lr=0.02)
    examples = [TEMPLATE.render(each) for each in SHOTS]
    found = [predict(choices) for choices in predictor.score(examples).choices]
    assert found == [example.label for example in examples]


@pytest.mark.parametrize("method", registry.METHODS)
def test_only_what_the_method_named_moves_and_detaching_undoes_it(method):
    backbone = tiny_backbone("t5")
    before = {name: weight.clone() for name, weight in backbone.model.state_dict().items()}
    predictor = learn(backbone, method, num_steps=2)
    after = backbone.model.state_dict()
    moved = {name for name in after if name not in before or not torch.equal(after[name], before[name])}
    assert moved
    assert {name for name, _ in backbone.model.named_parameters() if name in moved} <= set(predictor.names)
    trained = [value for name, value in backbone.model.named_parameters() if name in predictor.names]
    assert predictor.num_saved_parameters == sum(value.numel() for value in trained)
    assert not backbone.model.training
    backbone.detach_all()
    after = backbone.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


@pytest.mark.parametrize("method", ["lora", "prompt_tuning"])
def test_a_seed_repeats_itself_and_leaves_the_global_generator_alone(method):
    runs = []
    for seed in (1, 1, 2):
        torch.rand(1)
        state = torch.random.get_rng_state()
        runs.append(totals(learn(tiny_backbone("t5"), method, seed=seed, num_steps=3)))
        assert torch.equal(torch.random.get_rng_state(), state)
    assert runs[0] == runs[1] != runs[2]


def test_methods_that_change_nothing_at_first_see_the_same_first_batch():
    first = {totals(learn(tiny_backbone("t5"), method, num_steps=1))[0] for method in ("ia3", "lora", "full")}
    assert max(first) - min(first) < 1e-4


def test_batches_are_full_and_every_shot_is_drawn_equally_often():
    shots = [[(number, "a"), (number, "b")] for number in range(6)]
    batches = list(itertools.islice(tune.draw_batches(shots, 4, seed=0), 15))
    assert {len(batch) for batch in batches} == {4}
    drawn = [shot for batch in batches for shot, _ in batch]
    assert Counter(drawn) == dict.fromkeys(range(6), 10)
    assert all(sorted(drawn[start : start + 6]) == list(range(6)) for start in range(0, 60, 6))
    assert len({tuple(drawn[start : start + 6]) for start in range(0, 60, 6)}) > 1
    assert {template for batch in batches for _, template in batch} == {"a", "b"}
    assert next(tune.draw_batches(shots, 4, seed=0)) == batches[0] != next(tune.draw_batches(shots, 4, seed=1))


def test_a_batch_may_hold_more_than_there_are_shots():
    batch = next(tune.draw_batches([["a"], ["b"], ["c"]], 8, seed=0))
    assert sorted(Counter(batch).values()) == [2, 3, 3]


def test_the_logged_loss_is_the_weighted_sum_of_those_that_are_on():
    predictor = learn(tiny_backbone("t5"), lm_loss=0.5, unlikelihood_loss=2.0, length_norm_loss=0)
    assert predictor.log[0].keys() == {"loss", "lm_loss", "unlikelihood_loss"}
    for values in predictor.log:
        assert values["loss"] == pytest.approx(0.5 * values["lm_loss"] + 2 * values["unlikelihood_loss"], rel=1e-5)


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_without_the_losses_over_choices_only_the_right_choice_is_run(family):
    alone = {"unlikelihood_loss": 0, "length_norm_loss": 0}
    right = learn(tiny_backbone(family), **alone)
    everything = learn(tiny_backbone(family), **alone | {"length_norm_loss": 1e-12})
    assert totals(right) == pytest.approx(totals(everything), rel=1e-4)
    assert {len(length.choices) for length in right.work.lengths} == {1}
    assert right.work.num_tokens < everything.work.num_tokens


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_label_smoothing_is_torchs_own(family):
    backbone = tiny_backbone(family)
    encoded = encode(backbone, [TEMPLATE.render(SHOTS[0])], scoring(backbone))
    answer = [replace(encoded[0], choices=encoded[0].choices[:1], starts=encoded[0].starts[:1], label=0)]
    training = Training(unlikelihood_loss=0, length_norm_loss=0, label_smoothing=0.1)
    seen = []
    backbone.logits = lambda states: seen.append(type(backbone).logits(backbone, states)) or seen[-1]
    loss = tune._losses(backbone, answer, training)["loss"]
    (logits,), ids = seen, torch.tensor(answer[0].choices[0][answer[0].starts[0] :])
    smoothed = nn.functional.cross_entropy(logits, ids, label_smoothing=0.1)
    assert loss.item() == pytest.approx(smoothed.item(), rel=1e-5)
    assert loss.item() != pytest.approx(nn.functional.cross_entropy(logits, ids).item(), rel=1e-5)


def test_label_smoothing_goes_with_lm_loss_alone_and_is_written_down_only_where_it_is_on():
    with pytest.raises(ValidationError, match="label_smoothing is of L_LM"):
        Training(label_smoothing=0.1)
    assert "label_smoothing" not in Training().model_dump()
    alone = Training(label_smoothing=0.1, unlikelihood_loss=0, length_norm_loss=0)
    assert alone.model_dump(mode="json")["label_smoothing"] == 0.1


@pytest.mark.parametrize(("family", "method"), [("t5", "ia3"), ("gpt2", "ia3"), ("gpt2", "prompt_tuning")])
def test_tokens_are_those_that_scoring_the_same_examples_counts(family, method):
    backbone = tiny_backbone(family)
    predictor = learn(backbone, method, templates=[RAGGED], num_steps=3, batch_size=len(SHOTS))
    lengths = predictor.score([RAGGED.render(each) for each in SHOTS]).lengths
    assert predictor.work.lengths == Counter(lengths * 3)
    assert predictor.work.num_tokens == 3 * sum(length.context + sum(length.choices) for length in lengths)
    assert predictor.work.num_padding_tokens > 0


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_padding_is_what_the_model_is_given_beyond_the_tokens(family):
    backbone = tiny_backbone(family)
    given = []
    tables = [m for m in backbone.model.modules() if getattr(m, "weight", None) is backbone.embeddings.weight]
    for table in tables:  # T5's stacks have one each
        if isinstance(table, nn.Embedding):
            table.register_forward_hook(lambda _module, args, _output: given.append(args[0].numel()))
    predictor = learn(backbone, num_steps=3)
    work = predictor.work
    assert sum(given) == work.num_tokens - work.num_shared_tokens + work.num_padding_tokens


def test_scoring_is_that_of_the_tuned_backbone():
    backbone = tiny_backbone("llama")
    examples = [TEMPLATE.render(each) for each in ROWS]
    untuned = score(backbone, examples, Scoring(end="none", separator="\n\n")).choices
    predictor = learn(backbone)
    found = predictor.score(examples).choices
    assert found == score(backbone, examples, Scoring(end="none", separator="\n\n")).choices
    assert found != untuned
    assert (predictor.num_shots, predictor.shot_tokens) == (6, 0)


def test_inputs_are_cut_once_per_template_in_training_and_then_in_scoring():
    backbone = tiny_backbone("t5")

    def num_over(rows):
        inputs = [template.render(each).input for each in rows for template in (TEMPLATE, RAGGED)]
        return sum(len(backbone.tokenizer(text, add_special_tokens=False).input_ids) - 4 for text in inputs)

    predictor = learn(backbone, cut=4)
    assert predictor.num_cut_tokens == num_over(SHOTS)
    scores = [predictor.score([template.render(each) for each in ROWS[6:]]) for template in (TEMPLATE, RAGGED)]
    assert sum(found.work.cut_tokens for found in scores) == num_over(ROWS[6:])
    assert {length.context for length in predictor.work.lengths} == {5}  # and the end token


def test_progress_hears_of_each_step():
    heard = []
    predictor = learn(tiny_backbone("gpt2"), progress=lambda step, loss: heard.append((step, loss)))
    assert heard == list(enumerate(totals(predictor), start=1))


def test_dropout_is_on_in_training_only():
    backbone = tiny_backbone("t5")
    modes = []
    backbone.model.get_encoder().register_forward_hook(lambda module, *_: modes.append(module.training))
    predictor = learn(backbone, num_steps=2)
    predictor.score([TEMPLATE.render(each) for each in ROWS[:2]])
    assert modes == [True, True, False]


def test_a_rate_far_too_high_is_an_error_that_names_the_step():
    backbone = tiny_backbone("gpt2")
    with pytest.raises(RunError, match=r"training broke at step [2-6]: ") as error:
        learn(backbone, lr=1e30)
    assert "lower learning rate (it was 1e+30)" in error.value.hint
    assert not backbone.model.training


def test_memory_that_does_not_suffice_is_an_error_that_says_what_takes_less(monkeypatch):
    def exhausted(*_, **_more):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: error code 12")

    monkeypatch.setattr(tune, "_losses", exhausted)
    with pytest.raises(RunError, match=r"memory on cpu does not suffice to tune .* with ia3 in batches of 4") as error:
        learn(tiny_backbone("t5"))
    assert "--set accumulate=4" in error.value.hint

    def broken(*_, **_more):
        raise RuntimeError("another fault")

    monkeypatch.setattr(tune, "_losses", broken)
    with pytest.raises(RuntimeError, match="another fault"):
        learn(tiny_backbone("t5"))


def test_a_shot_that_does_not_fit_is_an_error_before_the_first_step():
    backbone = tiny_backbone("gpt2")
    backbone.max_positions = 30
    long = Row(9, {"text": "the premise " * 20, "more": False, "label": 0}, 0)
    heard = []
    with pytest.raises(ModelError, match="takes 30"):
        learn(backbone, shots=[long, *SHOTS], batch_size=1, progress=lambda *step: heard.append(step))
    assert not heard
