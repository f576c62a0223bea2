"""Engines whose workers are forked, or are the driver itself: they have torch already, and can be killed at a step."""

import contextlib
import json
from concurrent.futures import Future
from pathlib import Path

from peftbench.flow.engines.dealing import run_on
from peftbench.flow.engines.engine import Answer, Engine, Job
from peftbench.flow.engines.work import work
from peftbench.spec.cell import Cell
from peftbench.store.results import Store
from tests.drills.process import start, wait


class Inline:
    """Works in the process of the driver."""

    num_workers = num_submitted = 2
    least_seconds = 0.0
    share = 1

    def submit(self, job: Job) -> "Future[list[Answer]]":
        """Work, and return what is done."""
        future: Future[list[Answer]] = Future()
        future.set_result(work(job))
        return future

    def close(self) -> None:
        """End nothing."""


class Forked(Inline):
    """Forks a process for each job; the first is killed.

    Args:
        root: Steps are counted below this folder.
        before: Number of the step before which it is killed; None: it is not.
        log: A file for the number of the first one's steps.
    """

    def __init__(self, root: Path, before: int | None = None, log: Path | None = None) -> None:
        self._root, self._before, self._log = root, before, log

    def submit(self, job: Job) -> "Future[list[Answer]]":
        """Fork, wait, and read what came of it."""
        answers = job.journal.with_suffix(".answers")

        def act() -> int:
            text = json.dumps(work(job))
            answers.write_text(text)
            return 0

        future: Future[list[Answer]] = Future()
        code = wait(start(act, self._root, self._before, self._log))
        self._before = self._log = None
        if code == 0:
            future.set_result(json.loads(answers.read_text()))
        else:
            future.set_exception(ChildProcessError(f"exit {code}"))
        return future


def drive(cells: list[Cell], results: Path, engine: Engine) -> int:
    """Run cells on an engine, as the command does."""
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        list(run_on(engine, cells, Store(results)))
    return 0
