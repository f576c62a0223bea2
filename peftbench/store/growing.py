"""A predictions file that grows chunk by chunk and takes its name when it is whole; a stopped run goes on where it was.

Parquet cannot grow: until it is whole it is JSON lines.
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from peftbench.errors import RecordError
from peftbench.store import files
from peftbench.store.seal import broken, sealed

Rows = Iterable[dict[str, Any]]
Columns = Sequence[str]
CHOSEN = ("row", "adapter", "prediction", "scores", "error")
"""Columns where answers are chosen."""
WRITTEN = ("row", "adapter", "prediction", "is_cut", "error")
"""Columns where answers are written."""
BLOCK = 1 << 20
GROUP = 8192
"""Rows of a Parquet file that are in memory at once."""


def _jsonl(rows: Rows, columns: Columns, first: bool) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Rows, columns: Columns, first: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if first:
        writer.writeheader()
    for row in rows:
        scores = {"scores": json.dumps(row["scores"], ensure_ascii=False)} if "scores" in row else {}
        writer.writerow(row | scores)
    return text.getvalue()


def _parquet(lines: Path, path: Path, columns: Columns) -> None:
    """Write finished JSON lines as Parquet; scores are a map from the choice to its score."""
    import pyarrow
    from pyarrow import parquet

    scores = pyarrow.map_(pyarrow.string(), pyarrow.float64())
    types = {"row": pyarrow.int64(), "scores": scores, "is_cut": pyarrow.bool_()}
    schema = pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in columns])
    with lines.open(encoding="utf-8") as file, parquet.ParquetWriter(path, schema) as writer:
        rows = map(json.loads, file)
        while group := list(islice(rows, GROUP)):
            table = [row | {"scores": list(row["scores"].items())} if "scores" in row else row for row in group]
            writer.write_table(pyarrow.Table.from_pylist(table, schema))


WRITERS: dict[str, Callable[[Rows, Columns, bool], str]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _jsonl}


class Output:
    """Rows on their way to a file; as a context manager it is closed at the end.

    While it grows it is `PATH.partial`, locked by the run that writes it; `PATH.partial.json` says what it is a part
    of, and how far it is right.

    Args:
        path: Ends in .jsonl, .csv or .parquet.
        source: What the rows follow from; a part of something else is not continued. None: never continued.
        columns: Of a table; lines of JSON have those that a row has.

    Attributes:
        num_rows: Rows that are there already.
        num_faults: Those among them that have no prediction.

    Raises:
        RecordError: The file is there already, its suffix is unknown, its folder is not there or may not be written,
            another run is writing it, or what lies in its place is a part of something else or was cut.
    """

    def __init__(self, path: Path, source: str | None, columns: Columns = CHOSEN) -> None:
        if path.suffix not in WRITERS:
            raise RecordError(f"cannot write predictions to '{path}'", hint=f"files end in {', '.join(WRITERS)}")
        self.path, self._source, self._columns = path, source, columns
        self._write_rows = WRITERS[path.suffix]
        self._partial = path.with_name(path.name + ".partial")
        self._note = path.with_name(path.name + ".partial.json")
        if os.path.lexists(path):
            self._drop_rest()
            raise self._is_there()
        if not path.absolute().parent.is_dir():
            raise RecordError(f"cannot write '{path}': its folder is not there", hint="make the folder first")
        self.num_rows = self.num_faults = self._num_bytes = 0
        self._hash = hashlib.sha256()
        self._file = self._opened()
        try:
            self.num_rows, self.num_faults, self._num_bytes = self._read_state()
        except RecordError:
            self.close()
            raise

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file, which goes away where nothing was written to it."""
        if not self._file.closed:
            self._let_go(self._file)

    def _let_go(self, file: BinaryIO) -> None:
        with suppress(OSError):
            if not os.fstat(file.fileno()).st_size and files.is_at(self._partial, file.fileno()):
                self._partial.unlink()
        file.close()

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Write a chunk; its rows survive whatever happens afterwards.

        Raises:
            RecordError: The disk is full, or the folder went away, or something else wrote to the file.
        """
        text = self._write_rows(rows, self._columns, not self._num_bytes).encode()
        try:
            self._check_length()
            self._file.truncate(self._num_bytes)
            self._file.seek(self._num_bytes)
            self._write(text)
            os.fsync(self._file.fileno())
            self._num_bytes += len(text)
            self._hash.update(text)
            self.num_rows += len(rows)
            self.num_faults += sum("error" in row for row in rows)
            self._write_state()
        except OSError as error:
            raise self._unwritable(self._partial, error) from None

    def finish(self) -> None:
        """Give the finished file its name.

        Raises:
            RecordError: The disk is full, or the folder went away, or a file of that name came up meanwhile.
        """
        try:
            if self.path.suffix == ".parquet":
                with files.temporary(self.path.parent) as temporary:
                    _parquet(self._partial, temporary, self._columns)
                    self._place(temporary)
            else:
                self._place(self._partial)
            self._partial.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
        except FileExistsError:
            hint = f"{self.num_rows:,} rows are kept in '{self._partial}'; the same command with another --output"
            raise RecordError(f"'{self.path}' came up while its rows were predicted", hint=hint) from None
        except OSError as error:
            raise self._unwritable(self.path, error) from None
        finally:
            self.close()

    def _place(self, whole: Path) -> None:
        """Name the whole file; what a stopped run leaves beside it is known to be of no use by its size."""
        files.sync(whole)
        self._write_state(finished_bytes=whole.stat().st_size)
        files.place(whole, self.path)

    def _opened(self) -> BinaryIO:
        """Open and lock the partial file; again, where the run that had it named it meanwhile."""
        files.sweep(self.path.absolute().parent)
        while True:
            try:
                file = os.fdopen(os.open(self._partial, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
            except OSError as error:
                raise self._unwritable(self._partial, error) from None
            has_lock = files.lock(file.fileno(), wait=False)
            if has_lock is not False and files.is_at(self._partial, file.fileno()):
                if os.path.lexists(self.path):
                    self._let_go(file)
                    raise self._is_there()
                return file
            file.close()
            if has_lock is False:
                hint = "wait until it is done, or give another name with --output"
                raise RecordError(f"another run is writing '{self.path}'", hint=hint)

    def _is_there(self) -> RecordError:
        return RecordError(f"'{self.path}' is there already", hint="remove it, or give another name with --output")

    def _drop_rest(self) -> None:
        """Remove what a run left that was stopped just after its file had got its name, or before its first row."""
        files.sweep(self.path.absolute().parent)
        with suppress(OSError, ValueError, AttributeError, RecordError):
            if not self._note.exists() and not self._partial.stat().st_size:
                self._opened()  # which lets go of an empty file beside one that is whole
            if json.loads(self._note.read_text(encoding="utf-8")).get("finished_bytes") == self.path.stat().st_size:
                self._partial.unlink(missing_ok=True)
                self._note.unlink()

    def _write(self, text: bytes) -> None:
        rest = memoryview(text)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _check_length(self) -> None:
        """Refuse to go on after the end of the file: what is missing was cut, and would be filled with zeros."""
        size = os.fstat(self._file.fileno()).st_size
        if size < self._num_bytes:
            raise self._damaged(
                f"'{self._partial}' was cut: it has {size:,} of the {self._num_bytes:,} bytes that were written"
            )

    def _hashed(self, num_bytes: int) -> str:
        """Hash what was written before."""
        self._file.seek(0)
        while num_bytes > 0 and (block := self._file.read(min(BLOCK, num_bytes))):
            self._hash.update(block)
            num_bytes -= len(block)
        return self._hash.hexdigest()

    def _damaged(self, why: str) -> RecordError:
        return RecordError(why, hint=f"remove '{self._partial}' and '{self._note}', and begin again")

    def _unwritable(self, path: Path, error: OSError) -> RecordError:
        why = f"cannot write '{path}': {error.strerror or error}"
        if not self.num_rows:
            return RecordError(why, hint="give another place with --output")
        advice = "the same command goes on after them" if self._source else "run it again"
        return RecordError(why, hint=f"{self.num_rows:,} rows are kept in '{self._partial}'; make room, and {advice}")

    def _write_state(self, **more: int) -> None:
        state = {
            "source": self._source,
            "num_rows": self.num_rows,
            "num_faults": self.num_faults,
            "num_bytes": self._num_bytes,
            "sha256": self._hash.hexdigest(),
            **more,
        }
        with files.replacing(self._note) as temporary:
            temporary.write_text(sealed(json.dumps(state, indent=2)), encoding="utf-8")

    def _read_state(self) -> tuple[int, int, int]:
        """Return the numbers of rows, faults and bytes that are written and can be continued."""
        try:
            text = self._note.read_text(encoding="utf-8")
            state = json.loads(text)
            if broken(text, state, is_needed=True):
                raise ValueError
            source, *counts = (state[name] for name in ("source", "num_rows", "num_faults", "num_bytes"))
        except FileNotFoundError:
            return 0, 0, 0
        except (OSError, ValueError, KeyError, TypeError):
            raise self._damaged(f"'{self._note}' was edited or damaged") from None
        if source != self._source:
            raise RecordError(
                f"'{self._partial}' is a part of other predictions: of other rows, another adapter or template",
                hint=f"remove '{self._partial}', or give another name with --output",
            )
        if self._source is None:
            return 0, 0, 0
        self._num_bytes = counts[2]
        self._check_length()
        if self._hashed(counts[2]) != state["sha256"]:
            raise self._damaged(f"'{self._partial}' was edited: its digest is not that of its rows")
        return counts[0], counts[1], counts[2]
