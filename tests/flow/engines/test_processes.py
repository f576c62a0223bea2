"""Processes: one that is killed takes no other with it, and none outlives whoever began it."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from peftbench.flow.engines.processes import Processes
from peftbench.spec.cell import Cell
from tests.flow.engines.light import job, work

CELL = Cell(learner="icl", model="answers", task={"name": "t"})
DRIVER = """
    import pathlib, signal, sys
    from peftbench.flow.engines.processes import Processes
    from tests.flow.engines.light import job, work
    from tests.flow.engines.test_processes import SLEEPS

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        engine = Processes(2, work)
        try:
            futures = [engine.submit(job(SLEEPS, pathlib.Path(sys.argv[1]), number)) for number in range(2)]
            futures[0].result()
        finally:
            engine.close()
"""
DIES, SLEEPS = (CELL.model_copy(update={"model": model}) for model in ("dies", "sleeps"))
SECONDS = 30


def pid(path):
    """Wait for a worker's pid."""
    end = time.monotonic() + SECONDS
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(path.read_text())


def is_gone(process):
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
            if (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True  # dead, and nobody has asked how it ended
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_a_process_is_used_again_and_one_that_is_killed_is_made_again(tmp_path):
    engine = Processes(2, work)
    try:
        sleeping = engine.submit(job(SLEEPS, tmp_path, 1))
        (first,) = engine.submit(job(CELL, tmp_path)).result(SECONDS)
        (second,) = engine.submit(job(CELL, tmp_path)).result(SECONDS)
        assert first == second
        with pytest.raises(BrokenExecutor):
            engine.submit(job(DIES, tmp_path)).result(SECONDS)
        (third,) = engine.submit(job(CELL, tmp_path)).result(SECONDS)
        assert third["seconds"] != first["seconds"]
        assert not sleeping.done()
    finally:
        engine.close()
    assert is_gone(pid(tmp_path / "1.jsonl"))
    assert is_gone(int(third["seconds"]))


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_where_ctrl_c_or_a_kill_ends_the_run(tmp_path, end):
    script = tmp_path / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    command = [sys.executable, str(script), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, env=environment) as driver:
        workers = [pid(tmp_path / f"{number}.jsonl") for number in range(2)]
        began = time.monotonic()
        os.killpg(driver.pid, end) if end == signal.SIGINT else os.kill(driver.pid, end)
        stderr = driver.communicate(timeout=SECONDS)[1].decode()
        assert all(map(is_gone, workers))
    assert time.monotonic() - began < 10
    assert stderr.count("Traceback") == (end == signal.SIGINT)  # the driver's
