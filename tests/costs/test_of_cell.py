"""What a finished cell ran, against the kernels that ran; and what its costs say."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from peftbench import registry
from peftbench.costs.backward import trained_flops, training_flops
from peftbench.costs.count import Query, forward_flops, pass_flops, prefill_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.costs.of_cell import Facts, ScoredRows
from peftbench.costs.of_cell import costs as costs_of
from peftbench.flow.run import run
from peftbench.learners import tune
from peftbench.learners.optimizer import Optimizer
from peftbench.learners.progress import SILENT
from peftbench.methods.base import Added, Place
from peftbench.models.shapes import Sizes
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs
from peftbench.scoring.score import score
from peftbench.scoring.work import Blocks, Length, Pass, TrainingWork
from peftbench.spec.cell import Cell, IclOptions, Scoring, ScoringOptions, TaskSpec
from peftbench.store.results import Store
from tests.scoring.prompts import example

TEMPLATE = "{{text}} How is it? ||| {{label}}"


PROMPTS = [
    example("the premise says that the hypothesis does follow", (" yes it does follow", " no")),
    example("the premise is true or false?", (" it is true", " maybe it is false")),
    example("the question", (" positive", " negative", " neither of them")),
]


@pytest.mark.parametrize(
    ("family", "cache"), [("t5", True), ("gpt2", True), ("gpt2", False), ("mistral", True), ("mistral", False)]
)
@pytest.mark.parametrize("name", [None, "prompt_tuning", "prefix_tuning", "lora"])
def test_scoring_as_it_ran_padding_and_all(family, cache, name, backbone_of):
    backbone = backbone_of(family)
    added = None
    if name:
        method = registry.method(name)
        method.attach(backbone, method.Config())
        added = method.added(backbone.sizes, method.Config())
    found = []
    traced = kernel_flops(
        lambda: found.append(
            score(backbone, PROMPTS, Scoring(end="eos", separator="\n\n", cache=cache), token_budget=40)
        )
    )
    assert sum(pass_flops(backbone.sizes, one, added) for one in found[0].work.passes) == traced


SIZES = Sizes(False, 0, 2, d_model=8, d_kv=4, d_ff=32, num_heads=2, num_kv_heads=1, gated=False, vocab_size=20)
VECTOR = Added(6, places=(Place("decoder", 0, "self", "v"),))


def facts(**more):
    settings = {
        "sizes": SIZES,
        "num_parameters": 1000,
        "bytes_per_value": 2,
        "added": None,
        "scored": [ScoredRows([Length(9, (3, 2), shots=4)], (), 1, shot_tokens=4, shot_bytes=30)],
        "passes": (),
        "trained": None,
        "adapter": None,
        "learn_seconds": 1.0,
        "score_seconds": 2.0,
    } | more
    return Facts(**settings)


def costs(**more):
    return {(cost.name, cost.kind): cost.value for cost in costs_of(facts(**more))}


def test_training_is_counted_and_stands_beside_the_rule():
    lengths = {Length(9, (3, 2)): 5, Length(4, (1, 1)): 3}
    padded = Pass(0, 0, 4, 14, 0, 24)
    found = costs(added=VECTOR, trained=TrainingWork(Counter(lengths), Counter(), Counter({padded: 2})))
    queries = {Query(0, 9, (3, 2)): 5, Query(0, 4, (1, 1)): 3}
    assert found["training_flops", "counted"] == training_flops(SIZES, queries, 2, VECTOR)
    assert found["training_flops", "estimated"] == 3 * 2 * 1000 * (5 * 14 + 3 * 6)
    assert found["learning_flops", "counted"] > found["training_flops", "counted"]
    assert ("preparation_flops", "counted") not in found


def test_the_rule_counts_virtual_tokens_in_a_query_as_in_training():
    prompt = Added(num_parameters=7, extra_tokens=5)
    work = TrainingWork(Counter({Length(14, (3, 2)): 2}), Counter(), Counter({Pass(0, 0, 2, 19, 0, 12): 1}))
    scored = [ScoredRows([Length(14, (3, 2))], (), 1, shot_tokens=0, shot_bytes=0)]
    found = costs(added=prompt, trained=work, scored=scored)
    unfed = 2  # of a decoder-only model the last token of each choice, which the paper counts
    assert found["inference_flops_per_example", "estimated"] == 2 * 1000 * (14 + 5 + unfed)
    assert found["training_flops", "estimated"] == 3 * 2 * 1000 * 2 * (14 + 5)


def test_what_runs_before_the_first_step_is_training_too():
    lengths, padded = {Length(9, (3, 2)): 5}, {Pass(0, 0, 5, 14, 0, 30): 1}
    without, found = (
        costs(added=VECTOR, trained=TrainingWork(Counter(lengths), Counter(prepared), Counter(padded)))
        for prepared in ({}, lengths)
    )
    before = training_flops(SIZES, {Query(0, 9, (3, 2)): 5}, 0, VECTOR)
    assert found["preparation_flops", "counted"] == before
    for name in ("training_flops", "learning_flops"):
        assert found[name, "counted"] - without[name, "counted"] == before


def test_nothing_trained_costs_nothing():
    found = costs()
    assert found["training_flops", "counted"] == 0
    assert ("training_flops", "estimated") not in found


def test_what_in_context_learning_keeps_is_named_text_tokens_and_cache():
    more = ScoredRows([Length(15, (2, 2), shots=10)], (), 1, shot_tokens=10, shot_bytes=60)
    found = costs(scored=[ScoredRows([Length(9, (3, 2), shots=4)], (), 1, 4, 30), more])
    assert found["disk_bytes", "counted"] == (4 + 10) / 2 * 4
    assert found["shot_text_bytes", "counted"] == (30 + 60) / 2
    assert found["cache_bytes", "counted"] == (4 + 10) / 2 * 2 * 2 * 4 * 2  # layers, keys and values, features, bytes


def test_an_encoder_decoder_keeps_no_cache_and_says_why():
    sizes = replace(SIZES, is_encoder_decoder=True, num_encoder_layers=2)
    (cache,) = [cost for cost in costs_of(facts(sizes=sizes)) if cost.name == "cache_bytes"]
    assert cache.value is None
    assert "anew with each query" in cache.reason


def test_an_example_of_an_ensemble_costs_all_its_prompts():
    """Two shots of 4 and 6 tokens, two examples: four prompts."""
    lengths = [Length(9, (1,), shots=4), Length(7, (1,), shots=4), Length(11, (1,), shots=6), Length(9, (1,), shots=6)]
    found = costs(scored=[ScoredRows(lengths, (), 2, shot_tokens=10, shot_bytes=9)])
    queries = [Query(4, 5, (1,)), Query(4, 3, (1,)), Query(6, 5, (1,)), Query(6, 3, (1,))]
    total = sum(forward_flops(SIZES, query) for query in queries)
    assert found["inference_flops_per_example", "counted"] == total / 2
    assert found["cache_flops", "counted"] == prefill_flops(SIZES, 4) + prefill_flops(SIZES, 6)


def test_calibration_costs_its_queries_once():
    free = (Length(6, (1,), shots=4), Length(5, (1,), shots=4))
    found = costs(scored=[ScoredRows([Length(9, (1,), shots=4)] * 3, free, 3, shot_tokens=4, shot_bytes=9)])
    expected = forward_flops(SIZES, Query(4, 2, (1,))) + forward_flops(SIZES, Query(4, 1, (1,)))
    assert found["calibration_flops", "counted"] == expected


ICL = {
    "cached": {"shots": 3},
    "not cached": {"shots": 3, "scoring": ScoringOptions(cache=False)},
    "zero-shot": {"shots": 0},
    "ensemble": {"shots": 2, "icl": IclOptions(ensemble="mean")},
    "calibrated": {"shots": 2, "icl": IclOptions(calibrate=True)},
}
TUNE = {
    "ia3": ("ia3", {}),
    "prompt_tuning": ("prompt_tuning", {"num_virtual_tokens": 5}),
    "ensemble": ("prompt_tuning", {"num_virtual_tokens": 5, "num_prompts": 2}),
    "fishmask": ("fishmask", {"keep_ratio": 0.01}),  # looks at the shots before the first step
    "top_layers": ("top_layers", {}),  # what is below is run once for an example
    "upper": ("bottleneck", {"drop_layers": 1}),  # of each stack
    "adalora": ("adalora", {}),  # some of what was trained is gone at the end
}
ROWS = [
    {"text": "the soup", "label": "good"},
    {"text": "the bed was hard and cold", "label": "very bad"},
    {"text": "rain all week", "label": "very bad"},
    {"text": "a day", "label": "good"},
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def dispatched(cell, store):
    """Run a cell; give its record, and the matmuls that were dispatched."""
    found = []
    return found, kernel_flops(lambda: found.extend(run([cell], store, SILENT)))


@pytest.mark.parametrize("way", ICL)
@pytest.mark.parametrize("family", ["t5", "mistral"])
def test_a_record_counts_all_matmuls_of_in_context_learning(family, way, backbone_of, rows, tmp_path):
    """Padding and all: what the record says is what was dispatched, to the last unit."""
    task = TaskSpec(name="mine", train=rows, test=rows, template=TEMPLATE, choices=("good", "very bad"))
    cell = Cell(learner="icl", model=backbone_of(family).name, task=task, **ICL[way])
    (found,), traced = dispatched(cell, Store(tmp_path))
    assert found.record.cost("scoring_flops", "counted").value == traced


@pytest.mark.parametrize(("method", "settings"), TUNE.values(), ids=TUNE)
@pytest.mark.parametrize("family", ["t5", "gpt2", "bart"])
def test_a_record_counts_all_matmuls_of_tuning(family, method, settings, backbone_of, rows, tmp_path):
    task = TaskSpec(name="mine", train=rows, test=rows, template=TEMPLATE, choices=("good", "very bad"))
    cell = Cell(
        learner="tune", model=backbone_of(family).name, task=task, shots=3, method=method,
        method_config=settings, training={"num_steps": 3, "batch_size": 2},
    )  # fmt: skip
    (found,), traced = dispatched(cell, Store(tmp_path))
    counted = [found.record.cost(name, "counted").value for name in ("learning_flops", "scoring_flops")]
    assert sum(counted) == traced


@pytest.mark.parametrize("family", ["t5", "gpt2", "deberta-v2"])
def test_a_record_counts_what_is_computed_again_and_in_parts(family, backbone_of, rows, tmp_path):
    task = TaskSpec(name="mine", train=rows, test=rows, template=TEMPLATE, choices=("good", "very bad"))
    training = {"num_steps": 3, "batch_size": 3, "activation_checkpointing": True, "accumulate": 2}
    cell = Cell(learner="tune", model=backbone_of(family).name, task=task, shots=3, method="lora", training=training)
    (found,), traced = dispatched(cell, Store(tmp_path))
    counted = [found.record.cost(name, "counted").value for name in ("learning_flops", "scoring_flops")]
    assert sum(counted) == traced
    plain = cell.model_copy(update={"training": {"num_steps": 3, "batch_size": 3}})
    (other,), _ = dispatched(plain, Store(tmp_path))
    assert other.record.id != found.record.id
    same = [each.record.cost("training_flops", "counted").value for each in (found, other)]
    assert same[0] == same[1]  # what the method needs, however it is run


@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_a_sweep_counts_what_ran_of_trials_that_broke(family, backbone_of, rows, tmp_path, monkeypatch):
    """Two steps of the first fold's three, backward included; the second fold is not begun."""
    real = Optimizer.step

    def step(self, number, loss):
        real(self, number, float("nan") if number == 1 and self._training.lr > 0.5 else loss)

    monkeypatch.setattr(Optimizer, "step", step)
    task = TaskSpec(name="mine", train=rows, test=rows, template=TEMPLATE, choices=("good", "very bad"))
    cell = Cell(
        learner="tune", model=backbone_of(family).name, task=task, shots=4, method="ia3", sweep="lr",
        training={"num_steps": 3, "batch_size": 2, "lr": 0.1},
    )  # fmt: skip
    (found,), traced = dispatched(cell, Store(tmp_path))
    assert [trial.reason is None for trial in found.record.learned.sweep.trials] == [True] * 4 + [False]
    assert found.record.learned.sweep.num_steps == 4 * 2 * 3 + 2
    counted = [found.record.cost(name, "counted").value for name in ("learning_flops", "scoring_flops")]
    assert sum(counted) == traced


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_the_lengths_that_training_writes_down_give_the_flops_of_its_steps(family, backbone_of):
    """In batches of one, with choices of one length, nothing is padded: what is counted is what was dispatched."""
    backbone, method = backbone_of(family), registry.method("ia3")
    examples = [Encoded((5,) * tokens, ((7, 8, 6), (9, 7, 6), (9, 7, 5)), (0, 0, 0), label=0) for tokens in (6, 3, 6)]
    backbone.train_only(method.attach(backbone, method.Config()))
    predictor = tune.TunePredictor(backbone, Scoring(end="none"), [], 2, 0)

    def run(is_shared):
        for each in examples:
            choice_log_probs(backbone, [each], is_shared=is_shared)[0].sum().backward()

    traced, shared = (kernel_flops(lambda is_shared=is_shared: run(is_shared)) for is_shared in (False, True))
    for each in examples:
        predictor.work.add_pass(*tune._shapes(backbone, [each]))
    assert predictor.work.num_padding_tokens == 0
    assert trained_flops(backbone.sizes, predictor.work.passes, method.added(backbone.sizes, method.Config())) == shared
    queries = {Query(0, length.context, length.choices): times for length, times in predictor.work.lengths.items()}
    assert training_flops(backbone.sizes, queries, 3, method.added(backbone.sizes, method.Config())) == traced


def test_blocks_of_shots_leave_out_what_they_do_not_see():
    """An opening token and shots of 3 and 2 tokens in two blocks, a separator of one, 3 of the input, choices."""
    length = Length(10, (3, 2), shots=6, blocks=Blocks(1, (3, 2)))
    found, full = (costs(scored=[ScoredRows([one], (), 1, 6, 30)]) for one in (length, replace(length, blocks=None)))
    per_pair = 2 * 2 * 2 * 8  # scores and values, a multiply-add is 2, layers, features of all heads
    assert full["inference_flops_per_example", "counted"] - found["inference_flops_per_example", "counted"] == (
        per_pair * (4 * (15 - 4) + 2 * (15 - 2))
    )
    assert full["cache_flops", "counted"] - found["cache_flops", "counted"] == per_pair * (3 * (6 - 3) + 2 * (6 - 2))
    for name in ("cached_inference_flops_per_example", "cache_bytes", "disk_bytes"):
        assert found[name, "counted"] == full[name, "counted"]
