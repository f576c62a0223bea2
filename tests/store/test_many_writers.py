"""Processes that write the same cells at once: no record is lost, none is mixed, and all of them know the same ones."""

import json
import os
import random
import traceback

from peftbench.store import fit
from peftbench.store.results import Store
from tests.drills.process import fork, wait
from tests.store.test_results import SCORES, record

NUM_WRITERS, NUM_CELLS = 4, 100
NAMES = [f"cell {number}" for number in range(NUM_CELLS)]


def write_all(store, writer, names=NAMES):
    """Write each cell, in an order of one's own; all that belongs to it says who wrote it. Return who was first."""
    first = {}
    for name in random.Random(writer).sample(names, len(names)):
        made = record(name).model_copy(update={"versions": {"writer": str(writer)}})
        with store.staging() as staged:
            (staged / "adapter").mkdir()
            (staged / "adapter" / "adapter.safetensors").write_text(f"of {writer}")
            standing = store.write(
                made, SCORES.assign(log_prob=-1.0 - writer), f"of {writer}", staged / "adapter", force=False
            )
        assert standing.id == made.id
        first[standing.id] = standing.versions["writer"]
    return first


def at_once(root, log, write):
    """Let all writers write, each in a process of its own; return who was first by each of them."""
    processes = []
    for writer in range(NUM_WRITERS):
        process = fork()
        if not process:
            try:
                (log / str(writer)).write_text(json.dumps(write(root, writer)))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        processes.append(process)
    assert [wait(process) for process in processes] == [0] * NUM_WRITERS
    return [json.loads((log / str(writer)).read_text()) for writer in range(NUM_WRITERS)]


def check_whole(store, first, names=NAMES):
    """See that each cell is there once, with all that its writer wrote and nothing of another's."""
    records, faults = store.readable()
    assert not faults
    assert sorted(made.id for made in records) == sorted(record(name).id for name in names)
    for made in records:
        writer = made.versions["writer"]
        assert {seen[made.id] for seen in first} == {writer}
        assert store.read_scores(made.id)["log_prob"].tolist() == [-1.0 - int(writer)] * 2
        if (store.adapters / made.id).exists():  # of an object store it is where it was made
            fit.check(store.location(made.id))
            fit.check(store.adapters / made.id)
            assert (store.adapters / made.id / "adapter.safetensors").read_text() == f"of {writer}"
    assert len({made.versions["writer"] for made in records}) > 1


def test_four_processes_that_write_the_same_cells_at_once(tmp_path):
    (tmp_path / "log").mkdir()
    root = tmp_path / "results"
    first = at_once(root, tmp_path / "log", lambda root, writer: write_all(Store(root), writer))
    check_whole(Store(root), first)
    assert sorted(path.name for path in root.iterdir()) == ["adapters", "prompts", "records", "scores"]
