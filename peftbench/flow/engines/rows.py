"""Rows -> chunks -> processes that have loaded what was learned -> predictions, in the order of the rows."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from peftbench.errors import PeftbenchError, RunError

if TYPE_CHECKING:
    from peftbench.flow.predict import Prediction, RowPredictor

MOST_KILLS = 2
"""Rows are given up when so many processes were killed while they were predicted."""
AHEAD = 2
"""Chunks for each process that are in memory: those that are predicted, and those that wait for rows before them."""
LOADS = "peftbench.flow.predict"
"""The module that processes need."""


@dataclass(frozen=True)
class Source:
    """What each process loads, once.

    Args:
        paths: Name -> an adapter's folder, or one record.
        template: As `predict.load`.
        column: As `predict.load`.
        where: The model, as `predict.load`: model, server, device, device_map.
        threads: Of the model; None suits its size.
        share: The most threads that suit it.
        folder: Where paths start from.
    """

    paths: dict[str, Path]
    template: int | None
    column: str
    where: dict[str, Any]
    threads: int | None
    share: int
    folder: Path


@dataclass(frozen=True)
class Chunk:
    """Rows that are predicted together.

    Args:
        source: What predicts them.
        first: Number of the first one.
        rows: As their file has them.
        is_head: Whether the first one's columns are those of all, and are checked.
        num_kills: Processes that were killed with it.
    """

    source: Source
    first: int
    rows: tuple[dict[str, Any], ...]
    is_head: bool
    num_kills: int = 0

    @property
    def span(self) -> str:
        """Its rows, by their numbers."""
        return f"{self.first:,} to {self.first + len(self.rows) - 1:,}"

    def again(self) -> "Chunk | RunError":
        """Return what comes of it after a process was killed with it."""
        if self.num_kills + 1 < MOST_KILLS:
            return replace(self, num_kills=self.num_kills + 1)
        return RunError(
            f"{MOST_KILLS} processes were killed while they predicted rows {self.span}",
            hint="perhaps memory does not suffice for so many at once: fewer --jobs; the rows before them are done",
        )


Attempt = tuple[Chunk | PeftbenchError, "Future[list[Prediction]]"]


class Pool(Protocol):
    """Processes that predict chunks; see `processes.Processes`."""

    num_workers: int

    def submit(self, job: Chunk) -> "Future[list[Prediction]]":
        """Predict a chunk in a process that has nothing else to do."""
        ...


_LOADED: "list[tuple[Source, RowPredictor]]" = []
"""Of this process, at most one."""


def predict(chunk: Chunk) -> "list[Prediction]":
    """Predict a chunk in this process, which loads what it needs with the first one."""
    if not _LOADED or _LOADED[0][0] != chunk.source:
        _LOADED[:] = [(chunk.source, _load(chunk.source))]
    predictor = _LOADED[0][1]
    if chunk.is_head:
        predictor.check(chunk.rows[0])
    (predictions,) = predictor.predict(chunk.rows, chunk.first)
    return predictions


def _load(source: Source) -> "RowPredictor":
    from peftbench.flow import predict as flow
    from peftbench.models.threads import THREADS

    THREADS.number, THREADS.most = source.threads, source.share
    os.chdir(source.folder)
    usages = [flow.open_usage(path) for path in source.paths.values()]
    return flow.load(source.paths, usages, source.template, source.column, **source.where)


def predicted(
    pool: Pool,
    source: Source,
    rows: Iterable[dict[str, Any]],
    first: int,
    *,
    size: int,
    is_table: bool,
    say: Callable[[str], None],
) -> "Iterator[list[Prediction]]":
    """Predict rows in processes, chunk after chunk, as one process would.

    Args:
        pool: The processes.
        source: What they load.
        rows: As their file has them.
        first: Number of the first one.
        size: Rows of a chunk.
        is_table: Whether all rows have the columns of the first one.
        say: Takes a remark.

    Raises:
        PeftbenchError: What loading raises, or reading rows; those before them are predicted first.
        RunError: Two processes were killed while they predicted the same rows.
    """
    waiting = deque[Attempt]()
    chunks = _chunks(source, rows, first, size, is_table)
    while True:
        while len(waiting) < AHEAD * pool.num_workers and _num_running(waiting) < pool.num_workers:
            chunk = next(chunks, None)
            if chunk is None:
                break
            waiting.append(_begun(pool, chunk))
        if not waiting:
            return
        wait([future for _, future in waiting if not future.done()], return_when=FIRST_COMPLETED)
        for place, (chunk, future) in enumerate(waiting):
            if isinstance(chunk, Chunk) and future.done() and isinstance(future.exception(), BrokenExecutor):
                say(f"a process was killed while it predicted rows {chunk.span}")
                waiting[place] = _begun(pool, chunk.again())
        while waiting and waiting[0][1].done():
            yield waiting.popleft()[1].result()


def _chunks(
    source: Source, rows: Iterable[dict[str, Any]], first: int, size: int, is_table: bool
) -> Iterator[Chunk | PeftbenchError]:
    """Cut rows into chunks; a fault that is met among them comes last."""
    numbered = iter(rows)
    for start in itertools.count(first, size):
        try:
            chunk = tuple(itertools.islice(numbered, size))
        except PeftbenchError as fault:
            yield fault
            return
        if not chunk:
            return
        yield Chunk(source, start, chunk, is_head=is_table and start == first)


def _begun(pool: Pool, chunk: Chunk | PeftbenchError) -> Attempt:
    """Let a process predict a chunk; a fault fails when its turn comes."""
    if isinstance(chunk, Chunk):
        return chunk, pool.submit(chunk)
    future: Future[list[Prediction]] = Future()
    future.set_exception(chunk)
    return chunk, future


def _num_running(waiting: Iterable[Attempt]) -> int:
    return sum(not future.done() for _, future in waiting)
