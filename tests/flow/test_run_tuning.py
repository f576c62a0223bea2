"""The flow around a tuning: faults before anything is computed, sweeps, starting points, and what stays on disk."""

import contextlib
from dataclasses import replace

import pytest

from peftbench.errors import ModelError
from peftbench.flow import run as flow
from peftbench.learners import learn, plateau, sweep
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.results import Store
from tests.flow.test_run import ROWS, TEMPLATE, Watch, only
from tests.row_files import write
from tests.tiny import tiny_folder

LONG = {"text": "the key broke " * 200, "label": "bad"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    for family in ("t5", "llama"):
        tiny_folder(family, root / family)
    return root


@pytest.fixture
def cell(folders, tmp_path):
    """Tuning on a tiny encoder-decoder, four shots of which six rows are scored."""
    task = TaskSpec(
        name="mine",
        train=write(tmp_path / "train.jsonl", ROWS),
        test=write(tmp_path / "test.jsonl", ROWS),
        template=TEMPLATE,
        choices=("good", "bad"),
    )
    training = {"num_steps": 2, "batch_size": 2, "scale_parameter": False, "lr": 0.01}
    return Cell(learner="tune", model=str(folders / "t5"), task=task, shots=4, method="ia3", training=training)


def zero_shot(cell):
    return Cell(learner="icl", model=cell.model, task=cell.task, shots=0)


def files(store):
    return sorted(path.name for path in store.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("method", ["ia3", "prompt_tuning"])
def test_what_does_not_fit_is_told_before_the_zero_shot_is_computed(cell, folders, tmp_path, method):
    """A long training row; and a test row that fits until virtual tokens come before it."""
    one = cell.model_copy(update={"model": str(folders / "llama"), "method": method, "shots": 6})
    if method == "ia3":
        write(cell.task.train, [*ROWS[:5], LONG])
        match = "takes 512"
    else:
        write(cell.task.test, [*ROWS, {"text": "soup " * 90, "label": "bad"}])
        match = "100 of them virtual"
        one = one.model_copy(update={"method_config": {"num_virtual_tokens": 100}})
    store, watch = Store(tmp_path / "results"), Watch()
    with pytest.raises(ModelError, match=match):
        list(flow.run([zero_shot(one), one], store, watch))
    assert watch.told == []
    assert not store.root.exists()


class Guarded(list):
    """The queries, which nobody may read while `closed` holds something."""

    closed: list = []

    def __getitem__(self, index):
        assert not self.closed, "a test row was read during the sweep"
        return super().__getitem__(index)

    def __iter__(self):
        assert not self.closed, "a test row was read during the sweep"
        return super().__iter__()


def test_a_sweep_reads_no_test_row_and_its_cost_is_part_of_the_training(cell, tmp_path, monkeypatch):
    def guarded(cells, make=flow.plans):
        return [replace(plan, queries=Guarded(map(Guarded, plan.queries))) for plan in make(cells)]

    def closing(*args, search=sweep.sweep, **more):
        Guarded.closed.append(True)
        try:
            return search(*args, **more)
        finally:
            Guarded.closed.clear()

    monkeypatch.setattr(flow, "plans", guarded)
    monkeypatch.setattr(learn, "sweep", closing)
    plain = only(flow.run([cell], Store(tmp_path / "plain"), Watch())).record
    swept = only(flow.run([cell.model_copy(update={"sweep": "lr"})], Store(tmp_path / "swept"), Watch())).record
    found = swept.learned.sweep
    assert [trial.lr for trial in found.trials] == sweep.rates(0.01)
    assert swept.learned.training["lr"] == found.lr
    assert (found.num_steps, found.num_held_out) == (5 * 2 * 2, 4)
    assert swept.identity["training"]["lr"] == 0.01
    assert swept.id != plain.id
    spent = [record.cost("training_flops", "counted").value for record in (plain, swept)]
    assert spent[1] - spent[0] == swept.cost("sweep_flops", "counted").value
    assert swept.cost("sweep_flops", "counted").value > sweep.NUM_RATES * sweep.NUM_FOLDS * spent[0]
    assert plain.cost("sweep_flops", "counted") is None
    assert plain.learned.sweep is None


def test_another_test_set_gives_the_same_sweep(cell, tmp_path):
    one, records = cell.model_copy(update={"sweep": "lr"}), []
    for rows in (ROWS, [row | {"label": "good" if row["label"] == "bad" else "bad"} for row in ROWS[::-1]]):
        write(cell.task.test, rows)
        records.append(only(flow.run([one], Store(tmp_path / "results"), Watch())).record)
    assert records[0].id != records[1].id
    assert records[0].learned.sweep == records[1].learned.sweep


def test_a_starting_point_is_known_by_its_content_and_is_in_the_record(cell, tmp_path):
    store = Store(tmp_path / "results")
    first = only(flow.run([cell], store, Watch())).record
    folder = store.adapters / first.id
    further = cell.model_copy(update={"start_from": folder, "training": {"num_steps": 0}})
    second = only(flow.run([further], store, Watch())).record
    assert second.results == first.results
    assert second.learned.start_from.path == str(folder)
    assert second.learned.start_from.sha256 == second.identity["start_from"]
    folder.rename(tmp_path / "elsewhere")
    again = only(flow.run([further.model_copy(update={"start_from": tmp_path / "elsewhere"})], store, Watch()))
    assert (again.is_new, again.record.id) == (False, second.id)


def test_what_was_trained_and_what_was_saved_are_two_numbers(cell, tmp_path):
    settings = {"reparameterize": True, "hidden_size": 5}
    one = cell.model_copy(update={"method": "prefix_tuning", "method_config": settings})
    learned = only(flow.run([one], Store(tmp_path / "results"), Watch())).record.learned
    blocks, tokens = 2 + 2 + 2, 10
    assert learned.num_saved_parameters == blocks * tokens * 2 * 24
    assert learned.num_trained_parameters == blocks * (5 + 1) * 2 * 24 + 3 * (tokens * 16 + 5 * (16 + 1))
    assert learned.num_unreached_parameters == 0


class Impatient(Watch):
    """Breaks off while the test rows are scored."""

    @contextlib.contextmanager
    def stage(self, title, total):
        def advance(_amount, _remark):
            if title.endswith("scoring"):
                raise KeyboardInterrupt

        yield advance


@pytest.mark.parametrize("when", ["scoring", "writing"])
def test_an_interrupted_tuning_leaves_no_adapter_and_takes_none_away(cell, tmp_path, monkeypatch, when):
    store = Store(tmp_path / "results")

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if when == "writing":
            patch.setattr(Store, "write", interrupt)
        watch = Impatient() if when == "scoring" else Watch()
        with pytest.raises(KeyboardInterrupt):
            list(flow.run([cell], store, watch))
        assert files(store) == []
    list(flow.run([cell], store, Watch()))
    there = files(store)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            list(flow.run([cell], store, Watch(), force=True))
    assert files(store) == there


def test_a_training_that_stops_has_the_steps_and_flops_that_were_run(cell, tmp_path, monkeypatch):
    monkeypatch.setattr(plateau, "WINDOW", 1)
    monkeypatch.setattr(plateau, "PATIENCE", 2)
    flat = {**cell.training, "lr": 1e-9, "warmup_ratio": 0.0}

    def record(training):
        tried = cell.model_copy(update={"training": {**flat, **training}})
        return only(flow.run([tried], Store(tmp_path / "results"))).record

    stopped = record({"num_steps": 50, "stop": "plateau"})
    num_steps = stopped.work["training_steps"]
    assert 3 <= num_steps < 50
    whole, same = record({"num_steps": 50}), record({"num_steps": num_steps})
    assert "training_steps" not in whole.work
    assert flops(stopped) == flops(same) != flops(whole)
    assert stopped.learned.training["num_steps"] == 50


def flops(record):
    return [cost.value for cost in record.costs if cost.name.startswith("training")]
