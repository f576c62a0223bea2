"""Rows as dictionaries, from CSV, TSV, JSONL and Parquet files and from the hub; values stay as their file has them."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peftbench.errors import TaskError
from peftbench.spec import limits, values
from peftbench.tasks.schema import Data

Fields = dict[str, Any]


def read(path: Path) -> list[Fields]:
    """Read a file's rows.

    Raises:
        TaskError: The file is missing, damaged, has no rows, or its suffix is not one of those of `READERS`.
    """
    rows = list(stream(path))
    if not rows:
        raise TaskError(f"'{path}' has no rows", hint="labelled rows of at least two classes are needed")
    return rows


def stream(path: Path) -> Iterator[Fields]:
    """Read a file's rows one after the other; a fault shows when its row is reached.

    Raises:
        TaskError: As `read`, but for a file without rows; or a value beyond the limits of `spec.limits`.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise TaskError(f"cannot read rows from '{path}'", hint=f"files end in {', '.join(READERS)}")
    with _readable(path):
        for number, fields in enumerate(reader(path), start=1):
            _check(fields, number)
            yield fields


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever a reader, or the library behind it, makes of a stranger's file into one error that names it."""
    try:
        yield
    except OSError as error:
        hint = f"rows come from files in {', '.join(READERS)}; paths start from the folder that you are in"
        raise TaskError(f"cannot read '{path}': {error.strerror or error}", hint=hint) from None
    except Exception as error:  # JSON, CSV, UTF-8; of Parquet any of some ten classes without a common one
        suffix = path.suffix.lower()
        text = str(error) or type(error).__name__
        raise TaskError(f"'{path}' is not a readable {suffix[1:]} file: {text}", hint=EXPECTED[suffix]) from None


def _check(fields: Fields, number: int) -> None:
    """Refuse a row that could not be saved or rendered later on.

    Raises:
        ValueError: Says its number, its column, and what is wrong there.
    """
    if len(fields) > limits.MAX_COLUMNS:
        raise ValueError(f"row {number} has {len(fields):,} columns, and {limits.MAX_COLUMNS:,} are the most")
    if max(map(len, fields), default=0) > limits.MAX_COLUMN_CHARS:
        raise ValueError(f"row {number} has a column's name of more than {limits.MAX_COLUMN_CHARS} characters")
    try:
        for name, value in fields.items():
            if not (name.isascii() and _is_harmless(value)):
                values.check({name: value}, deepest=limits.MAX_ROW_DEPTH)
    except ValueError as error:
        raise ValueError(f"row {number}, {error}") from None


def _is_harmless(value: Any) -> bool:
    """Whether a value is within the limits at first sight, as most are: it saves half of the time to read a file."""
    if value.__class__ is str:
        return value.isascii() and len(value) <= limits.MAX_CHARS
    return value.__class__ is int and abs(value) <= limits.MAX_NUMBER


def _refuse_repeated(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = [name for name, number in Counter(names).items() if number > 1]
        raise ValueError(f"two columns have one name: {', '.join(twice)[: limits.MAX_COLUMN_CHARS]}")


def count(path: Path) -> int:
    """Count a file's rows; JSONL by its lines, Parquet by its footer."""
    with _readable(path):
        if path.suffix.lower() == ".jsonl":
            with path.open("rb") as file:
                return sum(not line.isspace() for line in file)
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            return int(parquet.read_metadata(path).num_rows)
    return sum(1 for _ in stream(path))


def from_hub(data: Data, split: str) -> list[Fields]:
    """Download a split of a data set on the hub, or take it from the local cache.

    Raises:
        TaskError: It could not be had, for whatever reason the hub's library gives.
    """
    import datasets
    from huggingface_hub.utils import logging

    name = f"{data.hub}/{data.config}" if data.config else str(data.hub)
    logging.set_verbosity_error()  # of its tries to reach the hub: the error below says what came of them
    try:
        rows = datasets.load_dataset(data.hub, data.config, revision=data.revision, split=split)
    except Exception as error:  # offline, unknown, gated, damaged cache: the library has no common error for them
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TaskError(
            f"cannot load split '{split}' of '{name}' from the hub: {reason}",
            hint="`icl` and `tune` take local files as well: --data DIR, or --train FILE --test FILE",
        ) from None
    table = [dict(row) for row in rows]
    for number, fields in enumerate(table, start=1):
        try:
            _check(fields, number)
        except ValueError as error:
            raise TaskError(f"'{name}', split '{split}': {error}", hint="rows hold text, numbers and lists") from None
    return table


def _csv(path: Path) -> Iterator[Fields]:
    yield from _separated(path, ",")


def _tsv(path: Path) -> Iterator[Fields]:
    yield from _separated(path, "\t")


def _separated(path: Path, delimiter: str) -> Iterator[Fields]:
    # The csv module, not pandas: "NA" stays "NA", "01" stays "01", and a row of another length is a fault.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        names = reader.fieldnames or []
        _refuse_repeated(names)
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"line {reader.line_num} does not have {len(names)} fields, as the header has")
            yield dict(row)


def _jsonl(path: Path) -> Iterator[Fields]:
    with path.open(encoding="utf-8") as file:
        yield from objects(file)


def objects(lines: Iterable[str]) -> Iterator[Fields]:
    """Read a JSON object from each line that is not empty.

    Raises:
        ValueError: A line is no JSON, or no object; the message has its number.
    """
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: {error.msg} at character {error.colno}") from None
        except RecursionError:
            deepest = limits.MAX_ROW_DEPTH
            raise ValueError(f"line {number}: tables and lists in each other, deeper than {deepest}") from None
        except ValueError as error:
            raise ValueError(f"line {number}: {_reason(error)}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not an object")
        yield row


def _object(pairs: Sequence[tuple[str, Any]]) -> Fields:
    """Make a table of what stands between braces; two values of one name are a fault, not the last one."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        _refuse_repeated([name for name, _ in pairs])
    return fields


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON; null stands for what is missing")


def _reason(error: ValueError) -> str:
    is_digits = "integer string conversion" in str(error)  # Python's own limit
    return f"a whole number beyond {limits.MAX_NUMBER}" if is_digits else str(error)


def _parquet(path: Path) -> Iterator[Fields]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        _refuse_repeated(file.schema_arrow.names)
        for batch in file.iter_batches():
            yield from batch.to_pylist()


EXPECTED = {
    ".csv": "UTF-8, a line of column names, then as many fields in each row; double quotes around text with commas",
    ".tsv": "UTF-8, a line of column names, then as many fields in each row; double quotes around text with tabs",
    ".jsonl": 'UTF-8, and in each line one object: {"text": "...", "label": "..."}',
    ".parquet": "as pandas and datasets write it, with columns of text, numbers, dates and lists",
}
READERS: dict[str, Callable[[Path], Iterator[Fields]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
