"""Cells that are dealt to workers: the same records, remarks said once, and what is killed is run again."""

import contextlib
import json
from concurrent.futures import Future
from dataclasses import replace

import pytest

from peftbench.errors import ModelError, RecordError, TaskError
from peftbench.flow import failures
from peftbench.flow import run as flow
from peftbench.flow.engines.dealing import run_on
from peftbench.flow.engines.work import work
from peftbench.flow.failures import CellsFailed, Failure
from peftbench.models.threads import ALL_THREADS, THREADS
from peftbench.store.results import Store
from tests.drills import results


class Inline:
    """Works in this process; `ends` says of each job after how many cells its worker is killed, and if in the next."""

    num_workers = num_submitted = 2
    least_seconds = 0.0
    share = 1

    def __init__(self, *ends):
        self.ends, self.jobs, self.is_closed = list(ends), [], False

    def submit(self, job):
        self.jobs.append(job)
        future = Future()
        number, is_begun = (self.ends and self.ends.pop(0)) or (None, False)
        if number is None:
            future.set_result(work(job))
            return future
        if number:
            work(replace(job, cells=job.cells[:number]))
        if is_begun:
            with job.journal.open("a") as file:
                file.write(json.dumps({"stage": "scoring", "left": 1.0}) + '\n{"cut')
        future.set_exception(ConnectionError("the worker\nis gone"))
        return future

    def close(self):
        self.is_closed = True


class Watch:
    def __init__(self):
        self.remarks, self.remained, self.done = [], [], 0

    @contextlib.contextmanager
    def stage(self, title, total):
        def advance(steps, remark):
            self.done += steps

        yield advance

    def remain(self, remaining):
        self.remained.append(remaining)

    def say(self, text):
        self.remarks.append(text)


@pytest.fixture(autouse=True)
def threads():
    yield
    THREADS.number, THREADS.most = None, ALL_THREADS


@pytest.fixture
def cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prompt = results.cells(tmp_path)["prompt"]
    return [prompt.model_copy(update={"seed": seed}) for seed in range(6)]


def test_records_are_those_of_one_process_and_come_with_their_places(cells, tmp_path):
    apart, alone, watch, engine = Store("apart"), Store(tmp_path / "alone"), Watch(), Inline()
    outcomes = list(run_on(engine, cells, apart, watch))
    list(flow.run(cells, alone))
    assert results.snapshot(apart.root) == results.snapshot(alone.root)
    assert {outcome.place: outcome.record.seed for outcome in outcomes} == dict(enumerate(range(6)))
    assert engine.is_closed
    assert len(engine.jobs) == 6
    assert watch.remained[-1].num_done == watch.done == 6
    assert watch.remained[-1].seconds == 0
    assert len(watch.remarks) == len(set(watch.remarks)) > 0
    again = list(run_on(Inline(), cells, apart))
    assert not any(outcome.is_new for outcome in again)


def alike(monkeypatch, least):
    """Let batches have more than one cell."""
    monkeypatch.setattr(Inline, "least_seconds", least)
    monkeypatch.setattr(Inline, "num_workers", 1)
    monkeypatch.setattr(Inline, "num_submitted", 1)


def test_what_a_killed_worker_has_not_finished_is_run_again(cells, tmp_path, monkeypatch):
    alike(monkeypatch, 1e9)
    engine, store, watch = Inline((2, True), (1, False)), Store("results"), Watch()
    outcomes = list(run_on(engine, cells, store, watch, force=True))
    assert [outcome.place for outcome in outcomes] == list(range(6))
    assert [[cell.seed for cell in job.cells] for job in engine.jobs] == [[*range(6)], [2, 3, 4, 5], [3, 4, 5]]
    assert any("a worker was killed" in remark for remark in watch.remarks)


def test_a_cell_in_whose_run_two_workers_are_killed_has_failed_and_the_others_have_not(cells, monkeypatch):
    alike(monkeypatch, 1e9)
    store = Store("results")
    with pytest.raises(CellsFailed, match=r"seed 2: its worker was killed 2 times .* the worker is gone") as error:
        list(run_on(Inline((2, True), (0, True)), cells, store))
    assert sorted(record.seed for record in store.all()) == [0, 1, 3, 4, 5]
    (path,) = (store.root / "failures").iterdir()
    assert str(path) in error.value.hint
    assert len(list(run_on(Inline(), cells, store))) == 6
    assert not (store.root / "failures").exists()


def test_a_kill_while_a_model_is_loaded_is_none_of_a_cell(cells, monkeypatch):
    alike(monkeypatch, 1e9)
    outcomes = list(run_on(Inline((0, False), (0, True)), cells, Store("results")))
    assert [outcome.place for outcome in outcomes] == list(range(6))


def test_a_failure_goes_away_where_the_record_is_there_after_all(cells):
    """A worker may be killed after it has written a record, and before it has said so."""
    store = Store("results")
    list(flow.run(cells[:1], store))
    failures.write(Failure.of(ValueError("killed"), cells[0]), store)
    list(flow.run(cells[:1], store))
    assert not (store.root / "failures").exists()


def test_where_no_worker_can_load_a_model_its_cells_have_failed(cells, monkeypatch):
    alike(monkeypatch, 1e9)
    store = Store("results")
    with pytest.raises(CellsFailed, match="6 cells failed"):
        list(run_on(Inline((0, False), (0, False)), cells, store))
    assert len(list((store.root / "failures").iterdir())) == 6
    assert [path.name for path in store.root.glob(".peftbench-*")] == []


def test_what_fails_in_a_worker_is_named_and_stops_no_other(cells, monkeypatch):
    learn = flow.Trial.learn

    def broken(trial, watch):
        return 1 / 0 if trial.cell.seed == 1 else learn(trial, watch)

    monkeypatch.setattr(flow.Trial, "learn", broken)
    store = Store("results")
    with pytest.raises(CellsFailed, match="seed 1: ZeroDivisionError"):
        list(run_on(Inline(), cells, store))
    assert len(store.all()) == 5
    monkeypatch.setattr(flow, "trials", lambda *_: 1 / 0)
    with pytest.raises(CellsFailed, match="6 cells failed"):
        list(run_on(Inline(), cells, Store("others")))


def test_wrong_input_ends_the_run_at_once(cells, tmp_path):
    engine = Inline()
    faulty = cells[0].model_copy(update={"model": "none"})
    with pytest.raises(ModelError, match="none") as error:
        list(run_on(engine, [faulty], Store("results")))
    assert error.value.hint
    assert engine.is_closed
    engine = Inline()
    with pytest.raises(TaskError):
        list(run_on(engine, [cells[0], cells[0].model_copy(update={"shots": 99})], Store("results")))
    assert engine.is_closed
    assert engine.jobs == []


def test_a_record_that_no_disk_here_shows_is_one_line(cells, monkeypatch):
    monkeypatch.setattr("peftbench.flow.engines.dealing.SECONDS_FOR_RECORD", 0.0)
    monkeypatch.setattr(Store, "find", lambda store, record_id: None)
    with pytest.raises(RecordError, match="a worker has written record") as error:
        list(run_on(Inline(), cells[:1], Store("results")))
    assert "share" in error.value.hint
