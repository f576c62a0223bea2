"""Shots chosen for each query, from a cell to its record and to new rows."""

import json

import pytest
import torch

from peftbench.costs import count
from peftbench.errors import MethodError, TaskError
from peftbench.flow import predict, trial
from peftbench.flow.forecast import forecast, forecasts
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.models import sentence_model
from peftbench.models.load import load
from peftbench.report.rows import options
from peftbench.spec.cell import Cell, Fold, IclOptions, TaskSpec
from peftbench.store.results import Store
from tests.flow.test_run import ROWS, TEMPLATE
from tests.models.test_sentence_model import sentence_folder
from tests.tiny import tiny_folder

NUM_SHOTS = 2
MORE = [{"text": "the soup was cold and the bed was cold", "label": "bad"}, {"text": "a fine soup", "label": "good"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_folder("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def task(tmp_path):
    for name, rows in (("train", [*ROWS, *MORE]), ("test", [*ROWS[:2], {"text": "a hard bed", "label": "bad"}])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    return TaskSpec(name="mine", template=TEMPLATE, choices=("good", "bad"), **files)


@pytest.fixture
def cell(model, task):
    return Cell(learner="icl", model=str(model), task=task, shots=NUM_SHOTS, icl=IclOptions(select="bm25"))


def made_of(cell, tmp_path):
    store = Store(tmp_path / "results")
    (outcome,) = run([cell], store)
    return outcome.record, store


def test_a_record_says_what_choosing_took(cell, tmp_path):
    record, _ = made_of(cell, tmp_path)
    costs = {(cost.name, cost.kind): cost.value for cost in record.costs}
    predictor = trial.trials([plan(cell)])[0]
    (prompt,) = predictor.learner.prompts(predictor.backbone, predictor.scoring, predictor.plan.queries)
    (queries,) = predictor.plan.queries
    scores = prompt.score(queries)
    sizes, total = predictor.backbone.sizes, 0
    for length in scores.lengths:
        query = count.Query(length.shots, length.context - length.shots, length.choices)
        total += count.forward_flops(sizes, query)
    assert abs(costs["inference_flops_per_example", "counted"] - total / 3) <= 0.5
    index = prompt._neighbours.index
    # Words of the eight inputs: each (row, word) has a value and a row of 4 bytes; each word a border of 8.
    rows = [{*f"{row['text']} how is it".lower().split()} for row in (*ROWS, *MORE)]
    num_bytes = 8 * sum(map(len, rows)) + 8 * (len(set().union(*rows)) + 1)
    assert costs["index_bytes", "counted"] == index.num_bytes == num_bytes
    assert costs["disk_bytes", "counted"] == 4 * prompt.shot_tokens + num_bytes
    assert costs["selection_flops_per_example", "counted"] == costs["index_flops", "counted"] == 0
    assert costs["index_seconds", "measured"] + costs["selection_seconds", "measured"] > 0
    assert not {"cache_flops", "cache_bytes", "cached_inference_flops_per_example"} & {name for name, _ in costs}
    learned = record.learned
    assert (learned.num_shots, learned.shot_ids, learned.chosen_from) == (NUM_SHOTS, [], len(ROWS) + len(MORE))
    assert record.identity["icl"] == {"select": "bm25"}
    assert "bm25s" in record.versions
    work = scores.work
    assert record.work["scoring_saved_tokens"] == work.saved_tokens
    contexts = sum(length.context for length in scores.lengths)
    assert contexts == 3 * work.shared_tokens + work.context_tokens + work.saved_tokens


def test_what_draws_shots_says_nothing_of_choosing(cell):
    drawn = cell.model_copy(update={"icl": IclOptions()})
    (made,) = trial.trials([plan(drawn)])
    assert "icl" not in made.identity
    assert "select" not in IclOptions(calibrate=True).model_dump()
    assert made.plan.shots
    assert not plan(cell).shots


def test_new_rows_get_the_shots_that_a_query_of_the_same_text_had(cell, tmp_path):
    record, store = made_of(cell, tmp_path)
    path = store.location(record.id)
    usages = [predict.open_usage(path)]
    predictor = predict.load({"": path}, usages, None, "adapter")
    rows = [{"text": row["text"]} for row in (*ROWS[:2], {"text": "a hard bed"})]
    predictions = [prediction for chunk in predictor.predict(rows) for prediction in chunk]
    scores = store.read_scores(record.id)
    for row, prediction in enumerate(predictions):
        of_row = scores[scores.row_id == row].sort_values("choice")
        expected = list(of_row.log_prob / of_row.num_tokens)
        assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-4)


def pooled(cell, pool, **fields):
    return cell.model_copy(update=fields | {"icl": IclOptions(select="bm25", pool=pool)})


def test_a_pool_is_what_a_seed_draws_and_a_larger_one_holds_it(cell, tmp_path):
    """The rows that so many drawn shots would be, in their order."""
    drawn = plan(cell.model_copy(update={"icl": IclOptions(), "shots": 6, "seed": 4}))
    small, large = (plan(pooled(cell, pool, seed=4)).learner.shots for pool in (4, 6))
    assert large == drawn.shots
    assert small == large[:4]
    assert {row.id for row in small} != {row.id for row in plan(pooled(cell, 4, seed=5)).learner.shots}
    assert not plan(pooled(cell, 4)).shots  # none of the pool stands before all queries


def test_a_record_tells_its_pool(cell, tmp_path):
    record, store = made_of(pooled(cell, 4, draw="balanced", seed=1), tmp_path)
    assert record.identity["icl"] == {"select": "bm25", "pool": 4}
    assert (record.learned.chosen_from, record.seed) == (4, 1)
    usage = json.loads((store.location(record.id).parents[1] / "prompts" / f"{record.id}.json").read_text())
    assert len(usage["shots"]) == 4


@pytest.mark.parametrize(
    ("options", "shots", "fault"),
    [
        ({"select": "bm25", "pool": 4}, 5, "shots = 5 cannot be chosen from pool = 4 rows"),
        ({"pool": 4}, 2, "pool = 4 rows to choose from, and select = random chooses none"),
    ],
)
def test_a_pool_is_larger_than_what_is_chosen_from_it(options, shots, fault):
    assert IclOptions(**options).faults(shots) == [fault]


def test_a_pool_of_more_rows_than_there_are_is_refused(cell):
    with pytest.raises(TaskError, match="9 rows in the pool were asked for, and task 'mine' has 8 training") as error:
        plan(pooled(cell, 9))
    assert error.value.hint.startswith("--pool 8 or fewer")
    folded = pooled(cell, 5, task=cell.task.model_copy(update={"test": None}), fold=Fold(index=0, of=2))
    with pytest.raises(TaskError, match=r"5 rows in the pool were asked for, and with 2 folds .* 4 rows") as error:
        plan(folded)
    assert error.value.hint.startswith("--pool 4 or fewer")


def test_a_fold_is_tested_after_rows_of_the_others(cell):
    folded = cell.model_copy(
        update={"task": cell.task.model_copy(update={"test": None}), "fold": Fold(index=0, of=2), "seed": 3}
    )
    made = plan(folded)
    assert {row.id for row in made.learner.shots}.isdisjoint(row.id for row in made.task.test)
    assert len(made.learner.shots) == 4


@pytest.mark.parametrize("family", ["t5", "llama"])
@pytest.mark.parametrize("fields", [{}, {"calibrate": True}])
def test_a_forecast_is_near(family, fields, cell, tmp_path):
    """Shots are taken to be as long as rows are at mean."""
    folder = tiny_folder(family, tmp_path / family)
    icl = IclOptions(select="bm25", **fields)
    (made,) = trial.on(load(str(folder), device="cpu"), [plan(cell.model_copy(update={"icl": icl}))])
    foreseen = forecast(made)
    (prompt,) = made.learner.prompts(made.backbone, made.scoring, made.plan.queries)
    passes = prompt.score(made.plan.queries[0]).work.passes
    taken = sum(count.pass_flops(made.backbone.sizes, one) for one in passes)
    assert foreseen.score_flops == pytest.approx(taken, rel=0.25)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"icl": {"as_prefix": True}}, "a prefix is one prompt"),
        ({"icl": {"ensemble": "mean"}}, "an ensemble has a prompt for each shot"),
        ({"shots": 0}, "there is none"),
        ({"draw": "balanced"}, "both say which rows are shots"),
        ({"seed": 1}, "draws nothing"),
    ],
)
def test_what_does_not_go_with_chosen_shots_is_refused(fields, fault, cell):
    table = cell.model_dump() | fields
    table["icl"] = {"select": "bm25"} | fields.get("icl", {})
    with pytest.raises(ValueError, match=fault):
        Cell.model_validate(table)


def test_seeds_are_of_folds_orders_and_random_labels(cell):
    for fields in ({"icl": {"order": 1}}, {"icl": {"labels": "random"}}):
        table = cell.model_dump() | {"seed": 1}
        table["icl"] = {"select": "bm25"} | fields["icl"]
        assert Cell.model_validate(table).seed == 1


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_what_a_model_reads_to_choose_is_in_the_costs_and_in_the_forecast(family, cell, tmp_path):
    folder = tiny_folder(family, tmp_path / family)
    chosen = cell.model_copy(update={"model": str(folder), "icl": IclOptions(select="embedding")})
    (made,) = trial.on(load(str(folder), device="cpu"), [plan(chosen)])
    foreseen = forecasts([made, made])
    record, _ = made_of(chosen, tmp_path)
    costs = {(cost.name, cost.kind): cost.value for cost in record.costs}
    sizes, ids = made.backbone.sizes, made.backbone.tokenizer
    tokens = {row["text"]: len(ids(f"{row['text']} How is it?")["input_ids"]) for row in [*ROWS, *MORE]}
    index = sum(count.states_flops(sizes, number) for number in tokens.values())
    assert costs["index_flops", "counted"] == index
    assert costs["index_bytes", "counted"] == 4 * len(tokens) * sizes.d_model
    queries = [tokens[row["text"]] for row in ROWS[:2]] + [len(ids("a hard bed How is it?")["input_ids"])]
    read = sum(count.states_flops(sizes, number) for number in queries)
    compared = 3 * 2 * len(tokens) * sizes.d_model
    assert abs(costs["selection_flops_per_example", "counted"] - (read + compared) / 3) <= 0.5
    (prompt,) = made.learner.prompts(made.backbone, made.scoring, made.plan.queries)
    lengths = prompt.score(made.plan.queries[0]).lengths
    total = sum(
        count.forward_flops(sizes, count.Query(length.shots, length.context - length.shots, length.choices))
        for length in lengths
    )
    in_all = costs["inference_flops_per_example", "counted"]
    assert abs(in_all - (total + read + compared) / 3) <= 1
    assert [one.learn_flops for one in foreseen] == [index + read, read]


def test_a_sentence_model_counts_by_what_is_in_its_folder(cell, tmp_path):
    folder = sentence_folder(tmp_path / "sentence")
    chosen = cell.model_copy(update={"icl": IclOptions(select="embedding", embedder=folder)})
    record, store = made_of(chosen, tmp_path)
    digest = sentence_model.fingerprint(folder)
    assert record.identity["icl"] == {"select": "embedding", "embedder": digest}
    assert options.typed(options.of_record(record))[-2:] == ["--embedder", str(folder)]
    reader = sentence_model.load(folder, torch.device("cpu"))
    inputs = dict.fromkeys(f"{row['text']} How is it?" for row in (*ROWS, *MORE))
    index = sum(count.states_flops(reader.sizes, len(ids)) for ids in reader.ids(list(inputs)))
    assert index == next(cost.value for cost in record.costs if cost.name == "index_flops")
    (foreseen,) = forecasts(trial.trials([plan(chosen)]))
    assert foreseen.learn_flops > index
    path = store.location(record.id)
    usages = [predict.open_usage(path)]
    predictor = predict.load({"": path}, usages, None, "adapter")
    assert [prediction.fault for chunk in predictor.predict([{"text": "rain"}]) for prediction in chunk] == [None]
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    assert trial.trials([plan(chosen)])[0].identity["icl"]["embedder"] != digest
    with pytest.raises(MethodError, match="is another one than texts were read by"):
        predict.load({"": path}, usages, None, "adapter")


def test_a_sentence_model_goes_with_embeddings(cell, tmp_path):
    with pytest.raises(ValueError, match="embedder goes with select = embedding"):
        Cell.model_validate(cell.model_dump() | {"icl": {"select": "bm25", "embedder": tmp_path}})
