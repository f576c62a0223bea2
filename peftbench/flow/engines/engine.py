"""The protocol of engines, and what goes to a worker and comes back.

The results folder is the channel: workers write records there, and answer with their ids.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from peftbench.spec.cell import Cell

Answer = dict[str, Any]
"""What came of a cell, its "place" in the job: "id", "is_new" and "seconds" of its record, or its "failure". Where no
more cells can be run it is an "error" (the class's name, message and hint), which ends the run."""


@dataclass(frozen=True)
class Job:
    """A batch of cells with the same weights, for one worker.

    Args:
        cells: What it runs, one after the other.
        folder: Where paths in cells start from.
        results: The results folder, from the root.
        journal: A file that the worker tells of its progress.
        force: Whether what has a record is run again.
        threads: Of all models; None suits each model's size.
        share: The most threads that suit a model.
    """

    cells: tuple[Cell, ...]
    folder: Path
    results: Path
    journal: Path
    force: bool
    threads: int | None
    share: int


class Engine(Protocol):
    """Runs jobs.

    Args:
        num_workers: Jobs that are run at a time.
        num_submitted: Jobs that are submitted at a time; others wait, the longest first.
        least_seconds: A batch that takes less is not worth a worker's start.
        share: Threads of a worker.
    """

    num_workers: int
    num_submitted: int
    least_seconds: float
    share: int

    def submit(self, job: Job) -> "Future[list[Answer]]":
        """Run `work.work(job)` in a worker; its future raises where the worker came to its end without an answer."""
        ...

    def close(self) -> None:
        """End all workers at once, whatever they do."""
        ...
