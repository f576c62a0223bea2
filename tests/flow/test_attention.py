"""Shots in blocks, from a cell to its record and to new rows."""

import json

import pytest

from peftbench.errors import MethodError, RecipeError
from peftbench.flow import predict, trial
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.learners.scored import score_once
from peftbench.scoring.layout import Shot
from peftbench.spec.cell import BLOCK_SHOTS, Cell, IclOptions, Scoring, ScoringOptions, TaskSpec
from peftbench.spec.settings import checked
from peftbench.store.results import Store
from tests.flow.test_run import ROWS, TEMPLATE
from tests.scoring.prompts import example
from tests.tiny import tiny_backbone, tiny_folder

BLOCK = IclOptions(attention="block", block_shots=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_folder("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def cell(model, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    task = TaskSpec(name="mine", train=path, test=path, template=TEMPLATE, choices=("good", "bad"))
    return Cell(learner="icl", model=str(model), task=task, shots=5)


def made_of(cell, folder):
    store = Store(folder)
    ((outcome, *_),) = [list(run([cell], store))]
    costs = {cost.name: cost.value for cost in outcome.record.costs if cost.kind == "counted"}
    return outcome.record, costs, store


def test_a_record_of_blocks_counts_their_attention_and_full_ones_stay_as_they_were(cell, tmp_path):
    record, costs, _ = made_of(cell.model_copy(update={"icl": BLOCK}), tmp_path / "block")
    full_record, full, _ = made_of(cell, tmp_path / "full")
    assert record.identity["icl"] == {"attention": "block", "block_shots": 2}
    assert "icl" not in full_record.identity
    (made,) = trial.trials([plan(cell.model_copy(update={"icl": BLOCK}))])
    (prompt,) = made.learner.prompts(made.backbone, made.scoring, made.plan.queries)
    lengths = prompt.score(made.plan.queries[0]).lengths
    blocks, sizes = lengths[0].blocks, made.backbone.sizes
    per_pair = 2 * 2 * sizes.num_decoder_layers * sizes.num_heads * sizes.d_kv
    unseen = sum((end - start) * (length.total - end + start) for length in lengths for start, end in blocks.spans)
    saved = full["inference_flops_per_example"] - costs["inference_flops_per_example"]
    assert abs(saved - per_pair * unseen / len(lengths)) <= 1
    shots = lengths[0].shots
    assert full["cache_flops"] - costs["cache_flops"] == per_pair * sum(size * (shots - size) for size in blocks.shots)
    assert costs["scoring_flops"] < full["scoring_flops"]
    for name in ("cached_inference_flops_per_example", "cache_bytes", "disk_bytes"):
        assert costs[name] == full[name]


def test_the_default_size_of_a_block_is_part_of_the_identity(cell):
    (made,) = trial.trials([plan(cell.model_copy(update={"icl": IclOptions(attention="block")}))])
    assert made.identity["icl"] == {"attention": "block", "block_shots": BLOCK_SHOTS}
    assert not {"attention", "block_shots"} & set(IclOptions(calibrate=True).model_dump())


def test_new_rows_are_answered_after_the_same_blocks(cell, tmp_path):
    record, _, store = made_of(cell.model_copy(update={"icl": BLOCK}), tmp_path / "results")
    path = store.location(record.id)
    predictor = predict.load({"": path}, [predict.open_usage(path)], None, "adapter")
    rows = [{"text": row["text"]} for row in ROWS]
    predictions = [prediction for chunk in predictor.predict(rows) for prediction in chunk]
    scores = store.read_scores(record.id)
    for row, prediction in enumerate(predictions):
        of_row = scores[scores.row_id == row].sort_values("choice")
        assert list(prediction.scores.values()) == pytest.approx(list(of_row.log_prob / of_row.num_tokens), abs=1e-4)


def test_remembered_scores_are_those_of_the_same_blocks():
    backbone, shots = tiny_backbone("llama"), [Shot("a premise", "yes"), Shot("no premise", "no")]
    values = [
        score_once(backbone, [example("is it?", ("yes", "no"))], Scoring(end="none"), shots, None, number).choices
        for number in (None, 1, None)
    ]
    assert values[0] == values[2] != values[1]


def test_an_encoder_decoder_is_refused_before_anything_is_run(cell, tmp_path):
    folder = tiny_folder("t5", tmp_path / "t5")
    refused = cell.model_copy(update={"icl": BLOCK, "model": str(folder)})
    with pytest.raises(MethodError, match="goes with decoder-only models"):
        next(iter(run([refused], Store(tmp_path / "results"))))
    assert not (tmp_path / "results").exists()


def test_blocks_need_the_cache(cell):
    scoring = ScoringOptions(cache=False).model_dump()
    with pytest.raises(RecipeError, match="keeps the keys and values of blocks, and cache is off"):
        checked(Cell, cell.model_dump() | {"icl": BLOCK.model_dump(), "scoring": scoring}, "options", RecipeError)
