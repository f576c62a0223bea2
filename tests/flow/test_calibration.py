"""Calibration by training rows, from a cell to its record and to new rows."""

import json

import pytest

from peftbench.costs import count
from peftbench.errors import RecordError, TaskError
from peftbench.flow import predict, usage
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.flow.trial import trials
from peftbench.report.rows import options
from peftbench.spec.cell import Cell, IclOptions, TaskSpec
from peftbench.store.results import Store
from peftbench.store.seal import sealed
from tests.flow.test_run import ROWS, TEMPLATE
from tests.tiny import tiny_folder

MORE = [{"text": "the soup was cold and the bed was cold", "label": "bad"}, {"text": "a fine soup", "label": "good"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_folder("llama", tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def cell(model, tmp_path):
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, *MORE]))
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:3]))
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    task = TaskSpec(name="mine", template=TEMPLATE, choices=("good", "bad"), **files)
    return Cell(learner="icl", model=str(model), task=task, shots=2, icl=by("batch"))


def by(name, **more):
    return IclOptions(calibrate=True, calibrate_by=name, **more)


@pytest.mark.parametrize("draw", ["plain", "balanced", "file"])
def test_no_shot_is_among_the_rows_and_all_others_are(cell, draw):
    planned = plan(cell.model_copy(update={"draw": draw, "seed": 3}))
    ids = {row.id for row in planned.learner.calibration_rows}
    assert ids == set(range(len(ROWS) + len(MORE))) - {row.id for row in planned.shots}


def test_random_words_are_of_the_rows_and_as_many_as_theirs_at_mean(cell):
    planned = plan(cell.model_copy(update={"icl": by("domain")}))
    shown = {row.id for row in planned.shots}
    left = [row["text"].split() for number, row in enumerate([*ROWS, *MORE]) if number not in shown]
    texts = [row.fields["text"].split() for row in planned.learner.calibration_rows]
    assert len(texts) == 20
    assert {len(text) for text in texts} == {round(sum(map(len, left)) / len(left))}
    assert {word for text in texts for word in text} <= {word for text in left for word in text}
    assert len(set(map(tuple, texts))) > 10
    assert plan(planned.cell).learner.calibration_rows == planned.learner.calibration_rows
    other = plan(planned.cell.model_copy(update={"seed": 1}))
    assert other.learner.calibration_rows != planned.learner.calibration_rows


@pytest.mark.parametrize(("name", "number"), [("batch", 6), ("domain", 20)])
def test_a_record_says_what_it_took_and_new_rows_are_answered_alike(name, number, cell, tmp_path):
    store = Store(tmp_path / "results")
    cells = [cell.model_copy(update={"icl": options}) for options in (IclOptions(), by(name))]
    plain, record = (outcome.record for outcome in run(cells, store))
    assert record.learned.calibrated_by == number
    assert plain.learned.calibrated_by is None
    assert record.identity["icl"] == {"calibrate": True, "calibrate_by": name}
    assert options.typed(options.of_record(record))[-3:] == ["--calibrate", "--calibrate-by", name]
    costs = [{(cost.name, cost.kind): cost.value for cost in made.costs} for made in (plain, record)]
    of_query = "inference_flops_per_example", "counted"
    assert costs[0][of_query] == costs[1][of_query]  # the estimate is made once
    assert costs[1]["calibration_flops", "counted"] > number / 3 * count_of_one(costs[0])
    path = store.location(record.id)
    predictor = predict.load({"": path}, [predict.open_usage(path)], None, "adapter")
    rows = [{"text": row["text"]} for row in ROWS[:3]]
    scores = store.read_scores(record.id)
    for row, prediction in enumerate(prediction for chunk in predictor.predict(rows) for prediction in chunk):
        expected = list(scores[scores.row_id == row].sort_values("choice").ranked_by)
        assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-4)


def count_of_one(costs):
    return costs["inference_flops_per_example", "counted"]


def test_calibration_flops_are_those_of_the_rows_after_the_shots(cell, tmp_path):
    (outcome,) = run([cell], Store(tmp_path / "results"))
    planned = plan(cell)
    (trial,) = trials([planned])
    (prompt,) = trial.learner.prompts(trial.backbone, trial.scoring, planned.queries)
    rows = [planned.templates[0].render(row) for row in planned.learner.calibration_rows]
    lengths = prompt.inner.score(rows).lengths
    queries = [count.Query(length.shots, length.context - length.shots, length.choices) for length in lengths]
    expected = sum(count.forward_flops(trial.backbone.sizes, query) for query in queries)
    costs = {(cost.name, cost.kind): cost.value for cost in outcome.record.costs}
    assert costs["calibration_flops", "counted"] == expected


def test_without_rows_that_are_no_shots_there_is_nothing_to_calibrate_by(cell):
    with pytest.raises(TaskError, match="and all 8 are shots"):
        plan(cell.model_copy(update={"shots": 8}))


def test_a_mean_over_rows_is_of_choices_that_they_share(cell):
    spec = cell.task.model_copy(update={"choices": ("{{text[:0]}}good", "bad")})
    with pytest.raises(TaskError, match="can make no mean over rows"):
        plan(cell.model_copy(update={"task": spec}))


def test_a_file_without_its_rows_is_damaged(cell, tmp_path):
    store = Store(tmp_path / "results")
    (outcome,) = run([cell], store)
    path = store.prompts / f"{outcome.record.id}.json"
    table = {name: value for name, value in json.loads(path.read_text()).items() if name != "calibration_rows"}
    table.pop("sha256", None)
    path.write_text(sealed(json.dumps(table)))
    with pytest.raises(RecordError, match="damaged"):
        usage.read(path)
