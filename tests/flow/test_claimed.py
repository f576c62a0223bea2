"""Cells that another process is at work on come last, and are not run where it has finished them by then."""

import json
import os
import subprocess
import sys
import time

import pytest

from peftbench.flow.run import attempts, run
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.record import now
from peftbench.store.results import Store


def cell(seed):
    task = TaskSpec(name="lab-hazard")
    return Cell(learner="icl", model="mini-gpt", task=task, shots=2, seed=seed, templates=(0,), limit=2, device="cpu")


@pytest.fixture
def other():
    """Another process that lives."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process.pid
        process.kill()


def claimed(store, record_id, pid):
    folder = store.root / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    claim = {"host": os.uname().nodename, "pid": pid, "since": now(), "beat": time.time(), "key": "theirs"}
    (folder / record_id).write_text(json.dumps(claim))


def test_what_another_process_is_at_work_on_comes_last(tmp_path, other):
    elsewhere = [outcome.record for outcome in run([cell(seed) for seed in range(3)], Store(tmp_path / "a"))]
    store = Store(tmp_path / "b")
    claimed(store, elsewhere[0].id, other)
    places = [outcome.place for outcome in run([cell(seed) for seed in range(3)], store)]
    assert places == [1, 2, 0]
    assert {record.id for record in store.all()} == {record.id for record in elsewhere}


def test_what_it_has_finished_by_then_is_not_run_again(tmp_path, other):
    source = Store(tmp_path / "a")
    elsewhere = [outcome.record for outcome in run([cell(seed) for seed in range(2)], source)]
    store = Store(tmp_path / "b")
    claimed(store, elsewhere[0].id, other)
    outcomes = run([cell(seed) for seed in range(2)], store)
    first = next(outcomes)
    for kind in ("scores", "prompts", "records"):
        for path in (source.root / kind).glob(f"{elsewhere[0].id}*"):
            (store.root / kind / path.name).write_bytes(path.read_bytes())
    (second,) = outcomes
    assert [(part.place, part.is_new) for part in (first, second)] == [(1, True), (0, False)]
    assert second.record == elsewhere[0]


def test_where_order_matters_nothing_is_put_off(tmp_path, other):
    (elsewhere,) = (outcome.record for outcome in run([cell(0)], Store(tmp_path / "a")))
    store = Store(tmp_path / "b")
    claimed(store, elsewhere.id, other)
    assert [part.place for part in attempts([cell(0), cell(1)], store, in_order=True)] == [0, 1]
