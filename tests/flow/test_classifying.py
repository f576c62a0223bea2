"""Classifiers of embeddings from a cell to its record, to the report and to new rows."""

import json
import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from peftbench.costs import count
from peftbench.errors import MethodError, TaskError
from peftbench.flow import predict
from peftbench.flow.forecast import forecasts
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.flow.trial import trials
from peftbench.learners import classify
from peftbench.models import sentence_model
from peftbench.report.evidence.pairs import pair
from peftbench.report.rows import options
from peftbench.report.rows.select import choose, read
from peftbench.report.rows.table import build
from peftbench.selection.embedding import OwnStates, embed
from peftbench.spec import packages
from peftbench.spec.cell import Cell, Fold, ScoringOptions, TaskSpec
from peftbench.store.results import Store
from tests.flow.test_run import ROWS
from tests.models.test_sentence_model import sentence_folder
from tests.tiny import tiny_folder

PAIR = "Is it so that {{more}} when {{text}}? ||| {{label}}"
TRAIN = [row | {"more": f"they stayed {number} days"} for number, row in enumerate(ROWS * 2)]
TEST = [row | {"more": "nobody came"} for row in ROWS[:3]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {family: tiny_folder(family, root / family) for family in ("llama", "t5")}


@pytest.fixture
def cell(folders, tmp_path):
    for name, rows in (("train", TRAIN), ("test", TEST)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    task = TaskSpec(name="mine", template=PAIR, choices=("good", "bad"), **files)
    return Cell(learner="tune", method="knn", model=str(folders["llama"]), task=task, shots=8, draw="balanced")


def by(cell, method, **fields):
    return cell.model_copy(update={"method": method} | fields)


REFERENCES = {
    "knn": KNeighborsClassifier(n_neighbors=5, metric="cosine"),
    "logistic_regression": LogisticRegression(),
}


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("method", REFERENCES)
def test_a_record_is_what_scikit_learn_makes_of_the_models_states(method, family, cell, folders, tmp_path):
    cell = by(cell, method, model=str(folders[family]))
    (trial,) = trials([plan(cell)])
    (foreseen,) = forecasts([trial])
    store = Store(tmp_path / "results")
    ((record, _),) = [(outcome.record, outcome.is_new) for outcome in run([cell], store)]
    shots = [trial.plan.templates[0].render(row) for row in trial.plan.shots]
    embedder, sizes = OwnStates(trial.backbone), trial.backbone.sizes
    of_shots, tokens = embed(embedder, [shot.input for shot in shots])
    of_queries, read_tokens = embed(embedder, [query.input for query in trial.plan.queries[0]])
    reference = REFERENCES[method].fit(of_shots, [shot.label for shot in shots])
    expected = np.log(np.maximum(reference.predict_proba(of_queries), math.exp(classify.LEAST)))
    assert list(store.read_scores(record.id).log_prob) == pytest.approx(expected.ravel().tolist(), abs=1e-3)
    labels = [row.label for row in trial.plan.task.test]
    right = "".join(str(int(is_right)) for is_right in reference.predict(of_queries) == labels)
    assert record.results[0].right == right
    costs = {(cost.name, cost.kind): cost.value for cost in record.costs}
    reading = sum(count.states_flops(sizes, number) for number in tokens)
    queries = sum(count.states_flops(sizes, number) for number in read_tokens)
    multiplied = 8 * sizes.d_model if method == "knn" else sizes.d_model
    assert costs["training_flops", "counted"] == costs["learning_flops", "counted"] == reading
    assert costs["scoring_flops", "counted"] == queries + 3 * 2 * multiplied
    assert abs(costs["inference_flops_per_example", "counted"] - (queries / 3 + 2 * multiplied)) <= 0.5
    disk = 4 * (8 * sizes.d_model + 8) if method == "knn" else 4 * (sizes.d_model + 1)
    assert costs["disk_bytes", "counted"] == disk
    assert (foreseen.learn_flops, foreseen.score_flops) == (reading, queries)
    assert record.learned.num_trained_parameters == (0 if method == "knn" else sizes.d_model + 1)
    assert ("scikit-learn" in record.versions) == (method == "logistic_regression")
    assert not run_anew(cell, store)


def run_anew(cell, store):
    (outcome,) = run([cell], store)
    return outcome.is_new


@pytest.mark.parametrize("method", REFERENCES)
def test_new_rows_are_answered_alike_and_without_the_label(method, cell, tmp_path):
    store = Store(tmp_path / "results")
    (outcome,) = run([by(cell, method)], store)
    path = store.location(outcome.record.id)
    usage = predict.open_usage(path)
    assert usage.shots
    assert not usage.is_prompted  # so that a description stands before rows as it stood before queries
    predictor = predict.load({"": path}, [usage], None, "adapter")
    rows = [{name: row[name] for name in ("text", "more")} for row in TEST]
    predictions = [prediction for chunk in predictor.predict(rows) for prediction in chunk]
    scores = store.read_scores(outcome.record.id)
    for row, prediction in enumerate(predictions):
        expected = list(scores[scores.row_id == row].sort_values("choice").log_prob)
        assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-4)


def test_it_is_a_row_beside_others_and_is_compared_with_them(cell, tmp_path):
    store = Store(tmp_path / "results")
    list(run([cell, by(cell, "ia3", training={"num_steps": 1})], store))
    (table,) = build(store.all())
    assert [row.method for row in table.rows] == ["knn", "ia3"]
    assert [(row.is_tuned, row.is_classified) for row in table.rows] == [(False, True), (True, False)]
    stored = read([store.root])
    model = cell.model
    (pairs,), _ = pair(*(choose(f"{method}@{model}", stored) for method in ("knn", "ia3")))
    assert len(pairs.num_right_a) == 3


def test_folds_are_tested_by_the_others(cell, tmp_path):
    spec = cell.task.model_copy(update={"test": None})
    cells = [by(cell, "knn", task=spec, shots=4, fold=Fold(index=index, of=2)) for index in range(2)]
    store = Store(tmp_path / "results")
    records = [outcome.record for outcome in run(cells, store)]
    assert sum(record.results[0].num_examples for record in records) == len(TRAIN)
    (table,) = build([stored.record for stored in read([store.root])])
    assert table.rows[0].num_examples == len(TRAIN)


def test_a_sentence_model_reads_in_place_of_the_model(cell, tmp_path):
    folder = sentence_folder(tmp_path / "sentence")
    chosen = by(cell, "knn", method_config={"k": 3, "embedder": str(folder)})
    store = Store(tmp_path / "results")
    (outcome,) = run([chosen], store)
    record = outcome.record
    digest = sentence_model.fingerprint(folder)
    assert record.identity["method_config"] == {"k": 3, "embedder": digest}
    assert options.typed(options.of_record(record))[-4:] == ["--set", "k=3", "--embedder", str(folder)]
    (trial,) = trials([plan(chosen)])
    reader = sentence_model.load(folder, trial.backbone.device)
    texts = [trial.plan.templates[0].render(row).input for row in trial.plan.shots]
    reading = sum(count.states_flops(reader.sizes, len(ids)) for ids in reader.ids(list(dict.fromkeys(texts))))
    assert reading == next(cost.value for cost in record.costs if cost.name == "training_flops")
    path = store.location(record.id)
    usages = [predict.open_usage(path)]
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    with pytest.raises(MethodError, match="is another one than texts were read by"):
        predict.load({"": path}, usages, None, "adapter")


@pytest.mark.parametrize(
    ("fields", "error", "fault"),
    [
        ({"training": {"lr": 1.0}}, MethodError, "has no lr"),
        ({"sweep": "lr"}, MethodError, "chooses a learning rate"),
        ({"scoring": ScoringOptions(chat=True)}, MethodError, "--chat writes prompts"),
        ({"method_config": {"kk": 3}}, MethodError, "unknown setting of knn 'kk'"),
        ({"method_config": {"k": 0}}, MethodError, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_with_a_classifier_is_refused(fields, error, fault, cell):
    with pytest.raises(error, match=fault):
        plan(by(cell, "knn", **fields))


def test_choices_of_each_row_are_no_classes(cell):
    spec = cell.task.model_copy(update={"choices": ("{{text[:0]}}good", "bad")})
    with pytest.raises(TaskError, match="choices of each row's own, and knn learns classes"):
        plan(by(cell, "knn", task=spec))


def test_shots_of_one_class_tell_nothing_apart(cell):
    (trial,) = trials([plan(by(cell, "logistic_regression", shots=1))])
    with pytest.raises(TaskError, match="all shots of 'own' have one"):
        trial.check()


def test_a_package_that_is_not_installed_is_named(cell, monkeypatch):
    (trial,) = trials([plan(by(cell, "logistic_regression"))])

    def absent(name):
        raise packages.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.importlib.metadata, "version", absent)
    with pytest.raises(MethodError, match="needs the package scikit-learn") as fault:
        trial.check()
    assert fault.value.hint == "pip install 'peftbench[baselines]'"


def test_inputs_are_cut_and_what_was_cut_is_said(cell, tmp_path):
    cut = by(cell, "knn", scoring=ScoringOptions(max_input_tokens=4))
    (outcome,) = run([cut], Store(tmp_path / "results"))
    (trial,) = trials([plan(cut)])
    (predictor,) = trial.learner.learn(trial.backbone, trial.scoring)
    assert set(predictor.read_tokens) <= {4, 5}  # with what opens a text
    of_queries = predictor.score(trial.plan.queries[0])
    assert outcome.record.work["cut_tokens"] == predictor.num_cut_tokens + of_queries.work.cut_tokens
    assert min(predictor.num_cut_tokens, of_queries.work.cut_tokens) > 0
