"""SetFit from a cell to its record, to what is saved of it, and to new rows."""

import json

import pytest

from peftbench.cli.app import main
from peftbench.costs import count
from peftbench.errors import MethodError, ModelError
from peftbench.flow import predict
from peftbench.flow.forecast import forecasts
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.flow.trial import trials
from peftbench.models import sentence_model
from peftbench.report.rows.table import build
from peftbench.spec import packages
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.results import Store
from tests.flow.test_classifying import PAIR, TEST, TRAIN
from tests.models.test_sentence_model import CPU, sentence_folder

pytest.importorskip("setfit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sentence_folder(tmp_path_factory.mktemp("sentence") / "model", most=30)


@pytest.fixture
def cell(folder, tmp_path):
    for name, rows in (("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    task = TaskSpec(name="mine", template=PAIR, choices=("good", "bad"), **files)
    settings = {"num_iterations": 2, "lr": 1e-3}
    shared = {"learner": "tune", "method": "setfit", "method_config": settings}
    return Cell(**shared, model=str(folder), task=task, shots=6, draw="balanced")


def test_a_record_counts_three_forwards_for_each_text_of_a_pair_and_keeps_encoder_and_head(cell, folder, tmp_path):
    (trial,) = trials([plan(cell)])
    (foreseen,) = forecasts([trial])
    (outcome,) = run([cell], Store(tmp_path / "results"))
    record = outcome.record
    encoder = sentence_model.load(folder, CPU)
    sizes = encoder.sizes
    shots = [trial.plan.templates[0].render(row).input for row in trial.plan.shots]
    (predictor,) = trial.learner.learn(trial.backbone, trial.scoring)
    once = sum(count.states_flops(sizes, len(ids)) for ids in encoder.ids(shots))
    of_pairs = sum(count.states_flops(sizes, number) for number in predictor.trained.tokens)
    costs = {(cost.name, cost.kind): cost.value for cost in record.costs}
    assert len(predictor.trained.tokens) == 2 * 2 * 2 * 6
    assert costs["training_flops", "counted"] == once + 3 * of_pairs
    num_parameters = sizes.num_parameters + 16 + 1
    assert costs["disk_bytes", "counted"] == 4 * num_parameters
    assert record.learned.num_trained_parameters == record.learned.num_saved_parameters == num_parameters
    assert (record.model.name, record.model.family, record.model.num_parameters) == (
        str(folder), "bert", sizes.num_parameters
    )  # fmt: skip
    assert foreseen.learn_flops == pytest.approx(once + 3 * of_pairs, rel=0.2)
    assert {"setfit", "peftbench"} <= record.versions.keys()
    (table,) = build([record])
    assert (table.rows[0].method, table.rows[0].is_classified) == ("setfit", True)


def test_another_seed_is_another_record_and_the_same_cell_is_the_same(cell, tmp_path):
    store = Store(tmp_path / "results")
    (first,) = run([cell], store)
    (again,) = run([cell], store, force=True)
    assert [result.right for result in first.record.results] == [result.right for result in again.record.results]
    assert first.record.id == again.record.id
    (other,) = trials([plan(cell.model_copy(update={"seed": 1}))])
    assert other.id != first.record.id
    assert other.learner.seed == 1


def test_what_was_saved_answers_new_rows_alike_without_the_model_that_it_came_from(cell, folder, tmp_path):
    store = Store(tmp_path / "results")
    moved = tmp_path / "moved"
    folder.rename(moved)
    try:
        (outcome,) = run([cell.model_copy(update={"model": str(moved)})], store)
    finally:
        moved.rename(folder)
    path = store.adapters / outcome.record.id
    usage = predict.open_usage(path)
    predictor = predict.load({"": path}, [usage], None, "adapter")
    rows = [{name: row[name] for name in ("text", "more")} for row in TEST]
    predictions = [prediction for chunk in predictor.predict(rows) for prediction in chunk]
    scores = store.read_scores(outcome.record.id)
    for row, prediction in enumerate(predictions):
        expected = list(scores[scores.row_id == row].sort_values("choice").log_prob)
        assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(MethodError, match="'a' is a trained sentence model"):
        predict.load({"a": path, "b": path}, [usage, usage], None, "adapter")


def test_the_command_leaves_no_zero_shot_row_and_predict_takes_its_folder(cell, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = ["--train", "train.jsonl", "--test", "test.jsonl", "--template", PAIR, "--choices", "good,bad"]
    words = [*own, "--model", str(folder), "--shots", "6", "--draw", "balanced", "--format", "json"]
    assert main(["tune", "--method", "setfit", "--set", "num_iterations=1", *words]) == 0
    captured = capsys.readouterr()
    (table,) = json.loads(captured.out)["tables"]
    assert [row["method"] for row in table["rows"]] == ["setfit"]
    (adapter,) = (tmp_path / "results" / "adapters").iterdir()
    assert f"predict --adapter results/adapters/{adapter.name}" in captured.err
    assert main(["predict", "--adapter", str(adapter), "--input", "test.jsonl", "--output", "out.jsonl", "-q"]) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == len(TEST)
    for method in ("knn", "logistic_regression"):
        assert main(["tune", "--method", method, *words, "--quiet"]) == 0
        assert len(json.loads(capsys.readouterr().out)["tables"][0]["rows"]) == 1


@pytest.mark.parametrize(("model", "embedder"), [("mini-gpt", False), ("mini-gpt", True), (None, True)])
def test_what_is_trained_is_the_sentence_model_of_the_model_option(cell, folder, model, embedder):
    config = cell.method_config | ({"embedder": str(folder)} if embedder else {})
    (trial,) = trials([plan(cell.model_copy(update={"model": model or str(folder), "method_config": config}))])
    with pytest.raises(ModelError, match="setfit trains the sentence model of --model") as fault:
        trial.check()
    assert "all-MiniLM-L6-v2" in str(fault.value.hint)


def test_without_its_package_the_hint_has_the_command(cell, monkeypatch):
    (trial,) = trials([plan(cell)])

    def absent(name):
        raise packages.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.importlib.metadata, "version", absent)
    with pytest.raises(MethodError, match="--method setfit needs the package setfit") as fault:
        trial.check()
    assert fault.value.hint == "pip install 'peftbench[setfit]'"
