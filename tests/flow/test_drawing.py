"""Shots that the model chooses for all queries, from a cell to its record."""

import json

import pytest

from peftbench.costs import count
from peftbench.errors import MethodError
from peftbench.flow.forecast import forecasts
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.flow.trial import trials
from peftbench.report.rows import options
from peftbench.report.rows.table import build
from peftbench.selection import embedding, kmeans
from peftbench.spec import packages
from peftbench.spec.cell import Cell, IclOptions, TaskSpec
from peftbench.store.results import Store
from tests.flow.test_run import ROWS, TEMPLATE
from tests.tiny import tiny_folder

MORE = [{"text": f"the {noun} was {word}", "label": "good"} for noun in ("key", "bed") for word in ("new", "soft")]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_folder("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def cell(model, tmp_path):
    for name, rows in (("train", [*ROWS, *MORE]), ("test", ROWS[:3])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    task = TaskSpec(name="mine", template=TEMPLATE, choices=("good", "bad"), **files)
    return Cell(learner="icl", model=str(model), task=task, shots=4, draw="kmeans")


def tuned(cell, method, **fields):
    return Cell.model_validate(cell.model_dump() | {"learner": "tune", "method": method, "icl": {}} | fields)


def test_prompts_tuning_and_classifiers_learn_from_the_same_rows(cell, tmp_path):
    cells = [cell, tuned(cell, "ia3", training={"num_steps": 1}), tuned(cell, "knn")]
    store = Store(tmp_path / "results")
    records = [outcome.record for outcome in run(cells, store)]
    (trial, *_) = trials([plan(cell)])
    rows, texts = trial.pool()
    places, work = kmeans.choose(trial.backbone, texts, 4, seed=0)
    assert [record.learned.shot_ids for record in records] == [[rows[place].id for place in places]] * 3
    reading = sum(count.states_flops(trial.backbone.sizes, number) for number in work.index_tokens)
    assert len(work.index_tokens) == len(ROWS) + len(MORE)
    for record in records:
        costs = {(cost.name, cost.kind): cost.value for cost in record.costs}
        assert costs["index_flops", "counted"] == reading
        assert costs["index_seconds", "measured"] > 0
        assert record.learned.chosen_from == len(ROWS) + len(MORE)
        assert record.identity["draw"] == "kmeans"
        assert "scikit-learn" in record.versions
    (table,) = build(records)
    assert all(row.once_flops == row.cost("training_flops") + reading for row in table.rows)
    assert options.typed(options.of_record(records[0]))[:2] == ["--draw", "kmeans"]
    again = [outcome.is_new for outcome in run(cells, store)]
    assert again == [False] * 3


def test_reading_the_rows_is_forecast_once(cell):
    both = trials([plan(cell), plan(cell)])
    drawn = [foreseen.learn_flops for foreseen in forecasts(both)]
    tokens = embedding.index(both[0].pool()[1], both[0].backbone).tokens
    assert drawn == [sum(count.states_flops(both[0].backbone.sizes, number) for number in tokens), 0]


def test_nothing_is_read_before_the_cell_runs(cell, monkeypatch):
    monkeypatch.setattr(embedding, "embed", lambda *_: pytest.fail("texts were read"))
    (trial,) = trials([plan(cell)])
    trial.check()
    forecasts([trial])
    assert (trial.plan.shots, len(trial.learner.shots), trial.identity["draw"]) == ((), 4, "kmeans")


def test_rows_that_calibrate_are_none_of_the_shots(cell):
    batch = cell.model_copy(update={"icl": IclOptions(calibrate=True, calibrate_by="batch")})
    (trial,) = trials([plan(batch)])
    drawn = trial.drawn()
    ids = {row.id for row in drawn.learner.calibration_rows}
    assert ids == set(range(len(ROWS) + len(MORE))) - {row.id for row in drawn.plan.shots}
    assert drawn.drawn() is drawn


def test_the_package_is_named_before_a_model_is_loaded(cell, monkeypatch):
    def absent(name):
        raise packages.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.importlib.metadata, "version", absent)
    with pytest.raises(MethodError, match="--draw kmeans needs the package scikit-learn") as fault:
        plan(cell)
    assert fault.value.hint == "pip install 'peftbench[baselines]'"


def test_shots_that_are_chosen_for_each_query_are_not_chosen_for_all(cell):
    with pytest.raises(ValueError, match="draw = kmeans and select = bm25 both say which rows are shots"):
        Cell.model_validate(cell.model_dump() | {"icl": {"select": "bm25"}})
