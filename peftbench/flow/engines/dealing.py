"""Cells -> batches -> an engine's workers -> records, with one display of all workers."""

import itertools
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from peftbench import errors
from peftbench.errors import PeftbenchError, RecordError, RunError
from peftbench.flow import failures
from peftbench.flow.engines.batches import Batch, batches
from peftbench.flow.engines.engine import Answer, Engine, Job
from peftbench.flow.engines.journal import Reader
from peftbench.flow.failures import Failure
from peftbench.flow.run import Outcome, checked_plans, completed
from peftbench.learners.progress import SILENT, Remaining, Watch
from peftbench.spec.cell import Cell
from peftbench.store import files
from peftbench.store.record import Record
from peftbench.store.results import Store

SECONDS_BETWEEN_LOOKS = 0.3
MOST_KILLS = 2
"""A cell has failed when so many workers were killed while it ran, or while they loaded its model."""
SECONDS_FOR_RECORD = 10.0
"""In which a shared disk shows what another machine has written."""


def run_on(
    engine: Engine,
    cells: Sequence[Cell],
    store: Store,
    watch: Watch = SILENT,
    *,
    force: bool = False,
    strict: bool = False,
    threads: int | None = None,
) -> Iterator[Outcome]:
    """Run cells as `flow.run.run` does, in the workers of an engine; outcomes come as they are finished.

    Args:
        engine: Runs batches of cells; it is closed in the end.
        cells: What to run.
        store: Where records are, and go.
        watch: Is told of progress, and of what is odd in the data.
        force: Whether what has a record is run again.
        strict: Whether data with something odd in it are refused.
        threads: Of each model; None suits its size.

    Raises:
        PeftbenchError: As `run`.
        CellsFailed: As `run`; a cell in whose run two workers were killed has failed as well.
    """
    return completed(_outcomes(engine, cells, store, watch, force, strict, threads), store, watch)


def _outcomes(
    engine: Engine, cells: Sequence[Cell], store: Store, watch: Watch, force: bool, strict: bool, threads: int | None
) -> Iterator[Outcome | Failure]:
    say = cache(watch.say)
    try:
        for note in checked_plans(cells, strict=strict)[1]:
            say(note)
        store.tidy()
        store.check_writable()
        with files.temporary_folder(store.root) as folder:
            dealing = Dealing(engine, cells, store, folder.absolute(), force, threads)
            number = min(engine.num_workers, len(cells))
            with watch.stage(f"{number} workers" if number > 1 else "a worker", len(cells)) as advance:
                for outcome in dealing.outcomes():
                    for text in dealing.remarks():
                        say(text)
                    watch.remain(dealing.remaining())
                    advance(int(outcome is not None), dealing.stages())
                    if outcome is not None:
                        yield outcome
    finally:
        engine.close()
        store.tidy()  # of what workers were writing that were ended


@dataclass
class Attempt:
    """A batch that a worker was given.

    Args:
        batch: Its cells.
        reader: Of the worker's journal.
        answered: Its cells that have an answer, by their places in the batch.
        stage: What the worker does; None where it still loads.
        is_loaded: Whether the worker has loaded the model, and computes with it.
        left: Seconds that remain of the batch; None where nobody knows.
    """

    batch: Batch
    reader: Reader
    answered: set[int] = field(default_factory=set)
    stage: str | None = None
    is_loaded: bool = False
    left: float | None = None

    def unanswered(self) -> list[int]:
        """List the places in the batch of the cells without an answer."""
        return [place for place in range(len(self.batch.cells)) if place not in self.answered]


class Dealing:
    """Batches that wait and batches that run, until all are done.

    Args:
        engine: Runs them.
        cells: All cells.
        store: Where records go.
        folder: For the workers' journals.
        force: Whether what has a record is run again.
        threads: Of each model.
    """

    def __init__(
        self, engine: Engine, cells: Sequence[Cell], store: Store, folder: Path, force: bool, threads: int | None
    ) -> None:
        self._engine, self._store, self._folder = engine, store, folder
        self._force, self._threads = force, threads
        self._num_cells, self._num_done, self._number = len(cells), 0, itertools.count()
        self._waiting = deque(batches(cells, engine.num_workers, engine.least_seconds))
        self._running: dict[Future[list[Answer]], Attempt] = {}
        self._num_kills: Counter[tuple[int, bool]] = Counter()
        """Place of a cell, and whether it ran or its model was loaded -> workers that were killed."""
        self._remarks: list[str] = []
        self._expected = self._measured = 0.0

    def outcomes(self) -> Iterator[Outcome | Failure | None]:
        """Yield what comes of cells as it comes, and None now and then where nothing does.

        Raises:
            PeftbenchError: What ends the run.
        """
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._engine.num_submitted:
                self._submit(self._waiting.popleft())
            done, _ = wait(self._running, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
            for attempt in self._running.values():
                yield from self._news(attempt)
            for future in done:
                yield from self._ended(future, self._running.pop(future))
            yield None

    def remarks(self) -> list[str]:
        """Take what workers have said."""
        remarks, self._remarks = self._remarks, []
        return remarks

    def stages(self) -> str:
        """Write in a line what all workers do."""
        return " | ".join(attempt.stage for attempt in self._running.values() if attempt.stage)

    def remaining(self) -> Remaining:
        """Estimate what remains, by what cells took so far and by what the workers say of theirs."""
        ratio = self._measured / self._expected if self._expected else 1.0
        running = [
            ratio * sum(map(attempt.batch.seconds.__getitem__, attempt.unanswered()))
            if attempt.left is None
            else attempt.left
            for attempt in self._running.values()
        ]
        waiting = ratio * sum(batch.total for batch in self._waiting)
        left = max([*running, (sum(running) + waiting) / self._engine.num_workers])
        spent = self._measured / self._engine.num_workers
        share = spent / (spent + left) if spent + left else 1.0
        return Remaining(self._num_done, self._num_cells, self._num_cells, left, share)

    def _submit(self, batch: Batch) -> None:
        journal = self._folder / f"{next(self._number)}.jsonl"
        job = Job(
            cells=batch.cells,
            folder=Path.cwd(),
            results=self._store.root.absolute(),
            journal=journal,
            force=self._force,
            threads=self._threads,
            share=self._engine.share,
        )
        self._running[self._engine.submit(job)] = Attempt(batch, Reader(journal))

    def _news(self, attempt: Attempt) -> Iterator[Outcome | Failure]:
        """Read what a worker has written down since."""
        for line in attempt.reader.lines():
            if "say" in line:
                self._remarks.append(line["say"])
            elif "stage" in line:
                attempt.stage, attempt.left, attempt.is_loaded = line["stage"], line["left"], True
            else:
                yield from self._answered(attempt, line["answer"])

    def _ended(self, future: "Future[list[Answer]]", attempt: Attempt) -> Iterator[Outcome | Failure]:
        """Take what a worker has answered, or see what is to become of the cells of one that was killed."""
        yield from self._news(attempt)
        try:
            answers = future.result()
        except Exception as error:
            yield from self._killed(attempt, error)
            return
        for answer in answers:  # a shared disk may show a journal late
            yield from self._answered(attempt, answer)

    def _answered(self, attempt: Attempt, answer: Answer) -> Iterator[Outcome | Failure]:
        if "error" in answer:
            name, message, hint = answer["error"]
            raise getattr(errors, name, PeftbenchError)(message, hint)
        place = answer["place"]
        if place in attempt.answered:
            return
        attempt.answered.add(place)
        attempt.is_loaded = True
        self._num_done += 1
        if "failure" in answer:
            yield Failure(**answer["failure"] | {"place": attempt.batch.places[place]})
            return
        if answer["is_new"]:
            self._measured += answer["seconds"]
            self._expected += attempt.batch.seconds[place]
        yield Outcome(self._record(answer["id"]), answer["is_new"], answer["seconds"], attempt.batch.places[place])

    def _killed(self, attempt: Attempt, error: Exception) -> Iterator[Failure]:
        """Submit again what a killed worker has not finished; a cell in whose run that was the second has failed."""
        left = [attempt.batch.places[place] for place in attempt.unanswered()]
        self._num_kills.update((place, attempt.is_loaded) for place in (left[:1] if attempt.is_loaded else left))
        lost = [place for place in left if self._num_kills[place, attempt.is_loaded] >= MOST_KILLS]
        for place in lost:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            cause = RunError(
                f"its worker was killed {MOST_KILLS} times ({why})",
                hint="perhaps memory does not suffice for so many at once: fewer --jobs",
            )
            failure = Failure.of(cause, attempt.batch.cells[attempt.batch.places.index(place)], place=place)
            failures.write(failure, self._store)
            self._num_done += 1
            yield failure
        again = [place for place in left if place not in lost]
        if again:
            self._remarks.append(f"a worker was killed; what it has not finished ({len(again)} cells) is run again")
            self._waiting.appendleft(attempt.batch.only(again))

    def _record(self, record_id: str) -> Record:
        """Read a record that a worker says is there.

        Raises:
            RecordError: It is not.
        """
        began = time.monotonic()
        while (record := self._store.find(record_id)) is None:
            if time.monotonic() - began > SECONDS_FOR_RECORD:
                message = f"a worker has written record {record_id}, and it is not in '{self._store.root}'"
                raise RecordError(message, hint="--results names a folder that all machines share")
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return record
