"""A predictions file that grows chunk by chunk and takes its name when it is whole; a stopped run goes on where it was.

Parquet cannot grow: until it is whole it is JSON lines.
"""

import csv
import io
import json
import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from peftbench.errors import RecordError
from peftbench.store.files import replacing

Rows = Iterable[dict[str, Any]]
COLUMNS = ("row", "adapter", "prediction", "scores", "error")
GROUP = 8192
"""Rows of a Parquet file that are in memory at once."""


def _jsonl(rows: Rows, first: bool) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Rows, first: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if first:
        writer.writeheader()
    for row in rows:
        scores = {"scores": json.dumps(row["scores"], ensure_ascii=False)} if "scores" in row else {}
        writer.writerow(row | scores)
    return text.getvalue()


def _parquet(lines: Path, path: Path) -> None:
    """Write finished JSON lines as Parquet; scores are a map from the choice to its score."""
    import pyarrow
    from pyarrow import parquet

    types = (pyarrow.int64(), *[pyarrow.string()] * 2, pyarrow.map_(pyarrow.string(), pyarrow.float64()))
    schema = pyarrow.schema(list(zip(COLUMNS, (*types, pyarrow.string()), strict=True)))
    with lines.open(encoding="utf-8") as file, parquet.ParquetWriter(path, schema) as writer:
        rows = map(json.loads, file)
        while group := list(islice(rows, GROUP)):
            table = [row | {"scores": list(row["scores"].items())} if "scores" in row else row for row in group]
            writer.write_table(pyarrow.Table.from_pylist(table, schema))


WRITERS: dict[str, Callable[[Rows, bool], str]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _jsonl}


class Output:
    """Rows on their way to a file.

    While it grows it is `PATH.partial`; `PATH.partial.json` says what it is a part of, and how far it is right.

    Args:
        path: Ends in .jsonl, .csv or .parquet.
        source: What the rows follow from; a part of something else is not continued. None: never continued.

    Attributes:
        num_rows: Rows that are there already.
        num_faults: Those among them that have no prediction.

    Raises:
        RecordError: The file is there already, its suffix is unknown, its folder is not there, or what lies in its
            place is a part of something else.
    """

    def __init__(self, path: Path, source: str | None) -> None:
        if path.suffix not in WRITERS:
            raise RecordError(f"cannot write predictions to '{path}'", hint=f"files end in {', '.join(WRITERS)}")
        if path.exists():
            raise RecordError(f"'{path}' is there already", hint="remove it, or give another name with --output")
        if not path.absolute().parent.is_dir():
            raise RecordError(f"cannot write '{path}': its folder is not there", hint="make the folder first")
        self.path, self._source = path, source
        self._write_rows = WRITERS[path.suffix]
        self._partial = path.with_name(path.name + ".partial")
        self._note = path.with_name(path.name + ".partial.json")
        self.num_rows, self.num_faults, self._num_bytes = self._read_state()

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Write a chunk; its rows survive whatever happens afterwards.

        Raises:
            RecordError: The disk is full, or the folder went away.
        """
        text = self._write_rows(rows, not self._num_bytes).encode()
        try:
            with self._partial.open("r+b" if self._partial.exists() else "wb") as file:
                file.truncate(self._num_bytes)
                file.seek(self._num_bytes)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            self._num_bytes += len(text)
            self.num_rows += len(rows)
            self.num_faults += sum("error" in row for row in rows)
            with replacing(self._note) as temporary:
                temporary.write_text(json.dumps(self._state()), encoding="utf-8")
        except OSError as error:
            raise self._unwritable(self._partial, error) from None

    def finish(self) -> None:
        """Move the finished file to its name.

        Raises:
            RecordError: The disk is full, or the folder went away.
        """
        try:
            if self.path.suffix == ".parquet":
                with replacing(self.path) as temporary:
                    _parquet(self._partial, temporary)
                self._partial.unlink()
            else:
                os.replace(self._partial, self.path)
            self._note.unlink()
        except OSError as error:
            raise self._unwritable(self.path, error) from None

    def _unwritable(self, path: Path, error: OSError) -> RecordError:
        advice = "the same command goes on after them" if self._source else "run it again"
        return RecordError(
            f"cannot write '{path}': {error.strerror or error}",
            hint=f"{self.num_rows:,} rows are kept in '{self._partial}'; make room, and {advice}",
        )

    def _state(self) -> dict[str, Any]:
        return {
            "source": self._source,
            "num_rows": self.num_rows,
            "num_faults": self.num_faults,
            "num_bytes": self._num_bytes,
        }

    def _read_state(self) -> tuple[int, int, int]:
        """Return the numbers of rows, faults and bytes that are written and can be continued."""
        if not self._note.exists():
            return 0, 0, 0
        try:
            state = json.loads(self._note.read_text(encoding="utf-8"))
            source, *counts = (state[name] for name in ("source", "num_rows", "num_faults", "num_bytes"))
            size = self._partial.stat().st_size
        except (OSError, ValueError, KeyError, TypeError):
            return 0, 0, 0
        if source != self._source:
            raise RecordError(
                f"'{self._partial}' is a part of other predictions: of other rows, another adapter or template",
                hint=f"remove '{self._partial}', or give another name with --output",
            )
        is_whole = self._source is not None and size >= counts[2]
        return (counts[0], counts[1], counts[2]) if is_whole else (0, 0, 0)
