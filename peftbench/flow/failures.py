"""Cells that failed while they were computed: each leaves `failures/ID.json`, which is no record, until it succeeds."""

import json
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from peftbench.errors import PeftbenchError, RecordError, RunError
from peftbench.spec.cell import Cell
from peftbench.store import files
from peftbench.store.record import identify, now
from peftbench.store.results import Store

MOST_NAMED = 20
"""Failed cells that the last error names."""


@dataclass(frozen=True)
class Failure:
    """What came of a cell in place of a record.

    Args:
        id: Of the record that it would have become; "cell-..." where that was not known yet.
        cell: The cell in words.
        message: What happened, in a line.
        hint: What would work; None where nobody knows.
        traceback: Where it happened.
        failed_at: UTC, as in records.
        place: Which of the run's cells it is, from 0.
    """

    id: str
    cell: str
    message: str
    hint: str | None
    traceback: str
    failed_at: str
    place: int = 0

    @classmethod
    def of(cls, error: Exception, cell: Cell, record_id: str | None = None, place: int = 0) -> "Failure":
        """Describe what a cell raised."""
        is_known = isinstance(error, PeftbenchError)
        return cls(
            id=record_id or provisional_id(cell),
            cell=in_words(cell),
            message=str(error) if is_known else " ".join(f"{type(error).__name__}: {error}".split()),
            hint=error.hint if isinstance(error, PeftbenchError) else None,
            traceback="".join(traceback.format_exception(error)),
            failed_at=now(),
            place=place,
        )

    def __str__(self) -> str:
        return f"{self.cell}: {self.message}"


class CellsFailed(RunError):
    """Some cells failed; the others have their records.

    Args:
        failures: In the order in which the cells failed.
        store: Has their tracebacks.
    """

    def __init__(self, failures: Sequence[Failure], store: Store) -> None:
        self.failures = tuple(failures)
        number = len(self.failures)
        place = path(store, self.failures[0].id if number == 1 else "ID")
        more = f"; and {number - MOST_NAMED} more" if number > MOST_NAMED else ""
        named = "; ".join(f"{failure.id} ({failure})" for failure in self.failures[:MOST_NAMED])
        again = f"traceback: {place}; the same command tries again what failed"
        if number == 1:
            hint = self.failures[0].hint
            super().__init__(str(self.failures[0]), hint=f"{hint}; {again}" if hint else again)
        else:
            super().__init__(f"{number} cells failed: {named}{more}", hint=again)


def path(store: Store, record_id: str) -> Path:
    """Name the file of a failure."""
    return store.root / "failures" / f"{record_id}.json"


def write(failure: Failure, store: Store) -> None:
    """Write a failure down, in the place of the one before it.

    Raises:
        RecordError: It cannot be written.
    """
    place = path(store, failure.id)
    try:
        with files.replacing(place) as temporary:
            table = {name: value for name, value in asdict(failure).items() if name != "place"}
            temporary.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write '{place}': {error.strerror}", hint=str(failure)) from None


def forget(cell: Cell, record_id: str, store: Store) -> None:
    """Remove what a cell left when it failed before, now that its record is there."""
    folder = store.root / "failures"
    if not folder.is_dir():
        return
    with suppress(OSError):  # somebody else is first, or there are others
        for name in (record_id, provisional_id(cell)):
            path(store, name).unlink(missing_ok=True)
        folder.rmdir()


def provisional_id(cell: Cell) -> str:
    """Name a cell whose model is not loaded, so that its record's id is not known."""
    return f"cell-{identify(cell.model_dump(mode='json', exclude={'device'}))}"


def in_words(cell: Cell) -> str:
    """Write a cell in a line."""
    fold = "" if cell.fold is None else f", fold {cell.fold.index + 1} of {cell.fold.of}"
    return f"{cell.task.name}: {cell.method or 'icl'} on {cell.model}, {cell.shots} shots, seed {cell.seed}{fold}"
