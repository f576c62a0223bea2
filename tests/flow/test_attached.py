"""What is tuned on a source is tuned once for all its targets that follow; records are those of tuning anew."""

import json

import pytest

from peftbench import registry
from peftbench.flow import run as flow
from peftbench.flow.engines.batches import batches
from peftbench.flow.forecast import forecasts
from peftbench.flow.plan import plans
from peftbench.flow.run import attempts, run
from peftbench.flow.trial import trials
from peftbench.learners import learn, tune
from peftbench.learners.progress import SILENT
from peftbench.learners.tune import Tuning
from peftbench.spec.cell import Cell, Fold, ScoringOptions, TaskSpec, Training
from peftbench.store.results import Store
from tests.flow.test_run import ROWS
from tests.learners import toy
from tests.tasks.test_text_rows import toml
from tests.tiny import tiny_backbone, tiny_folder

EXAMPLES = [toy.TEMPLATE.render(row) for row in toy.ROWS[:4]]
TRAINING = Training(num_steps=2)

WORDINGS = {"one": "{{text}} How is it?", "two": "{{text}} So?", "three": "{{text}}"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {family: str(tiny_folder(family, root / family)) for family in ("llama", "t5")}


@pytest.fixture
def trainings(monkeypatch):
    """List the seeds of all trainings, in their order."""
    seeds, train = [], tune.learn

    def counted(tuning, *args):
        seeds.append(tuning.seed)
        return train(tuning, *args)

    monkeypatch.setattr(tune, "learn", counted)
    return seeds


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    own = {"train": path, "test": path, "choices": ("good", "bad")}
    return {name: TaskSpec(name=name, template=f"{text} ||| {{{{label}}}}", **own) for name, text in WORDINGS.items()}


@pytest.fixture
def cell(models, tasks):
    def make(task, source=None, family="llama", **fields):
        named = [name if isinstance(name, TaskSpec | None) else tasks[name] for name in (task, source)]
        facts = {"method": "ia3", "training": {"num_steps": 2}, "shots": 4, "limit": 3, "device": "cpu"} | fields
        return Cell(learner="tune", model=models[family], task=named[0], source_task=named[1], **facts)

    return make


def content(record, store):
    """What a record and the files beside it hold, times aside."""
    table = record.model_dump(exclude={"created_at"})
    table["costs"] = [cost for cost in table["costs"] if cost["unit"] != "seconds"]
    files = {path.name: path.read_bytes() for path in (store.adapters / record.id).iterdir()}
    return table, store.read_scores(record.id).to_dict("list"), files


def check_as_anew(cells, store, folder):
    """Hold the records of cells, which perhaps shared a training, against those of cells that were run alone."""
    alone = Store(folder)
    for part in cells:
        (outcome,) = run([part], alone)
        assert content(store.find(outcome.record.id), store) == content(outcome.record, alone)


def transfer(cell, *seeds, **fields):
    """Make cells as the command line does: the source's own, then those of two targets, all seeds of each."""
    pairs = [("one", None), ("two", "one"), ("three", "one")]
    return [cell(*names, seed=seed, **fields) for names in pairs for seed in seeds]


def test_what_a_source_teaches_is_tuned_once_for_all_targets_and_records_are_those_of_tuning_anew(
    cell, trainings, tmp_path
):
    store, cells = Store(tmp_path / "shared"), transfer(cell, 0, 1)
    assert [outcome.place for outcome in run(cells, store)] == [0, 2, 4, 1, 3, 5]
    assert trainings == [0, 1]
    check_as_anew(cells, store, tmp_path / "alone")
    assert len(trainings) == 2 + 6


@pytest.mark.parametrize("name", registry.METHODS)
def test_no_method_is_changed_by_what_it_has_answered(name, tmp_path):
    backbone = tiny_backbone("llama")
    tuning = Tuning(name, registry.method(name).Config(), TRAINING, [[example] for example in EXAMPLES])
    tuned = learn.learn(tuning, backbone, toy.scoring(backbone), [EXAMPLES], SILENT, "toy")
    answers = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        scores = tuned.predictor.score(EXAMPLES)
        adapter = learn.save(tuned, folder, {"": {}})
        answers.append((scores.choices, scores.work, [path.read_bytes() for path in sorted(adapter.iterdir())]))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_written_answers_are_shared_as_chosen_ones_are(family, cell, trainings, tmp_path):
    source, target = toml(tmp_path), tmp_path / "other.toml"
    target.write_text((tmp_path / "toy.toml").read_text().replace("Text:", "In words:").replace('"toy"', '"other"'))
    tasks = [(source,), (TaskSpec(name=str(target)), source)]
    cells = [cell(*names, family=family, method="prefix_tuning", shots=2, limit=2) for names in tasks]
    store = Store(tmp_path / "shared")
    list(run(cells, store))
    assert trainings == [0]
    check_as_anew(cells[1:], store, tmp_path / "alone")


def test_rows_that_the_model_chose_are_those_of_all_targets(cell, trainings, tmp_path):
    store, cells = Store(tmp_path / "shared"), transfer(cell, 0, draw="kmeans")[1:]
    list(run(cells, store))
    assert trainings == [0]
    check_as_anew(cells[1:], store, tmp_path / "alone")


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": 1},
        {"shots": 3},
        {"training": {"num_steps": 1}},
        {"method": "lora"},
        {"scoring": ScoringOptions(end="eos")},
        {"draw": "balanced"},
    ],
)
def test_what_learns_anything_else_is_tuned_by_itself(fields, cell, trainings, tmp_path):
    other = Cell.model_validate(cell("two", "one").model_dump() | fields)
    store, cells = Store(tmp_path / "shared"), [cell("one"), other, cell("three", "one")]
    assert [outcome.place for outcome in run(cells, store)] == [0, 2, 1]
    assert len(trainings) == 2


def test_folds_are_tuned_each_by_itself(cell, tasks, trainings, tmp_path):
    store = Store(tmp_path / "shared")
    rows = tasks["one"].model_copy(update={"test": None})
    cells = [cell(rows, fold=Fold(index=index, of=2), limit=None, shots=3) for index in range(2)]
    list(run(cells, store))
    assert trainings == [0, 0]
    check_as_anew(cells[1:], store, tmp_path / "alone")


def test_an_interrupted_run_that_goes_on_tunes_once_more(cell, trainings, tmp_path):
    store, cells = Store(tmp_path / "shared"), transfer(cell, 0)
    outcomes = run(cells, store)
    next(outcomes)
    outcomes.close()
    assert [outcome.is_new for outcome in run(cells, store)] == [False, True, True]
    assert trainings == [0, 0]
    check_as_anew(cells[1:], store, tmp_path / "alone")


def test_after_a_cell_that_failed_nothing_is_attached(cell, trainings, tmp_path, monkeypatch):
    evaluate, store, cells = flow._evaluate, Store(tmp_path / "shared"), transfer(cell, 0)

    def failing(trial, *args):
        if trial.plan.task.name == "one":
            raise RuntimeError("broken")
        return evaluate(trial, *args)

    monkeypatch.setattr(flow, "_evaluate", failing)
    assert [getattr(outcome, "is_new", None) for outcome in attempts(cells, store)] == [None, True, True]
    assert trainings == [0, 0]
    check_as_anew(cells[1:], store, tmp_path / "alone")


def test_where_order_matters_it_is_that_of_the_cells(cell, trainings, tmp_path):
    cells = transfer(cell, 0, 1)[:4]
    assert [outcome.place for outcome in attempts(cells, Store(tmp_path / "shared"), in_order=True)] == [0, 1, 2, 3]
    assert trainings == [0, 1, 0, 1]


def test_only_the_first_of_those_that_share_a_training_is_forecast_to_train(cell):
    own, target, other = forecasts(trials(plans([*transfer(cell, 0)[:2], cell("one", seed=1)])))
    assert own.num_learn_passes == other.num_learn_passes > 0 == target.num_learn_passes
    assert own.learn_flops > 0 == target.learn_flops < target.score_flops


def test_cells_that_share_a_training_share_a_worker(cell):
    cells = transfer(cell, 0, 1)
    parts = batches(cells, 2, 0.0)
    assert sorted(part.places for part in parts) == [(0, 2, 4), (1, 3, 5)]
    for part in batches([part.model_copy(update={"model": "mini-gpt"}) for part in cells], 2, 0.0):
        assert part.seconds[0] > part.seconds[1] == part.seconds[2] > 0
