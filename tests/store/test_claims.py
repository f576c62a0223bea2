import contextlib
import json
import os
import threading
import time

import pytest

from peftbench.store import claims
from peftbench.store.claims import BEAT, NUM_MISSED, Claims, FolderNotes
from peftbench.store.results import Store
from tests.drills.process import fork, wait


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "claims"


def claimed_by(folder, host, pid, age=0.0, name="a"):
    folder.mkdir(exist_ok=True)
    claim = {"host": host, "pid": pid, "since": "2026-01-01T00:00:00+00:00", "key": "k", "beat": time.time() - age}
    (folder / name).write_text(json.dumps(claim))


def claims_of(folder):
    return Claims(FolderNotes(folder))


@pytest.fixture
def dead():
    """The id of a process that has ended."""
    process = fork()
    if not process:
        os._exit(0)
    wait(process)
    return process


def test_a_claim_is_others_while_its_process_lives_and_its_heart_beats(folder, dead):
    here, stale = os.uname().nodename, NUM_MISSED * BEAT + 1
    assert not claims_of(folder).is_others("a")
    for host, pid, age, expected in (
        ("elsewhere", dead, 0, True),
        ("elsewhere", dead, stale, False),
        ("elsewhere", dead, -stale, False),
        (here, os.getppid(), 0, True),
        (here, os.getppid(), stale, False),
        (here, dead, 0, False),
        (here, os.getpid(), 0, False),
        (here, 10**30, 0, True),
    ):
        claimed_by(folder, host, pid, age)
        assert claims_of(folder).is_others("a") is expected, (host, pid, age)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', '{"host": "x", "pid": "y"}', "\udcff"])
def test_what_is_no_claim_claims_nothing(folder, content):
    folder.mkdir()
    (folder / "a").write_bytes(content.encode(errors="surrogateescape"))
    assert not claims_of(folder).is_others("a")
    with claims_of(folder).claim("a"):
        assert json.loads((folder / "a").read_text())["pid"] == os.getpid()


def test_a_claim_goes_with_its_block_and_the_folder_with_the_last_one(folder):
    with contextlib.suppress(KeyboardInterrupt), claims_of(folder).claim("a"):
        with claims_of(folder).claim("b"):
            assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
        assert sorted(path.name for path in folder.iterdir()) == ["a"]
        raise KeyboardInterrupt
    assert not folder.exists()


def test_a_claim_that_another_process_took_over_is_not_removed(folder):
    with claims_of(folder).claim("a"):
        claimed_by(folder, "elsewhere", 7)
    assert claims_of(folder).is_others("a")


def test_another_processes_claim_stays(folder):
    claimed_by(folder, "elsewhere", 7)
    content = (folder / "a").read_text()
    with claims_of(folder).claim("a"):
        assert (folder / "a").read_text() == content
    assert (folder / "a").read_text() == content


def test_a_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path):
    (tmp_path / "claims").write_text("a file")
    with claims_of(tmp_path / "claims").claim("a"):
        assert not claims_of(tmp_path / "claims").is_others("a")


def beat(folder):
    return json.loads((folder / "a").read_text())["beat"]


def test_the_heart_beats_until_the_block_ends(folder, monkeypatch):
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with claims_of(folder).claim("a"):
        begun, ends = beat(folder), time.monotonic() + 5
        while beat(folder) == begun and time.monotonic() < ends:
            time.sleep(0.005)
        assert beat(folder) > begun
    assert not folder.exists()
    assert not any("_beat" in thread.name for thread in threading.enumerate())


def test_cells_that_others_are_at_come_last(folder):
    shared = claims_of(folder)
    claimed_by(folder, "elsewhere", 7)
    turns = shared.others_last([("a", 1), ("b", 2), ("c", 3)], lambda item: item[0])
    assert next(turns) == ("b", 2)
    (folder / "a").rename(folder / "c")  # whether a cell is claimed is asked when its turn comes
    assert list(turns) == [("a", 1), ("c", 3)]


def test_stale_claims_are_swept_with_the_folder(tmp_path):
    claimed_by(tmp_path / "claims", "elsewhere", 7)
    Store(tmp_path).tidy()
    assert (tmp_path / "claims" / "a").exists()
    claimed_by(tmp_path / "claims", "elsewhere", 7, NUM_MISSED * BEAT + 1)
    Store(tmp_path).tidy()
    assert not (tmp_path / "claims").exists()
