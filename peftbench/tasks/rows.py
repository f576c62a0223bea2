"""Rows as dictionaries, from CSV, JSONL and Parquet files and from the hub; values stay as their file has them."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from peftbench.errors import TaskError
from peftbench.tasks.schema import Data

Fields = dict[str, Any]


def read(path: Path) -> list[Fields]:
    """Read a file's rows.

    Raises:
        TaskError: The file is missing, damaged, has no rows, or its suffix is not one of .csv, .jsonl, .parquet.
    """
    rows = list(stream(path))
    if not rows:
        raise TaskError(f"'{path}' has no rows", hint="labelled rows of at least two classes are needed")
    return rows


def stream(path: Path) -> Iterator[Fields]:
    """Read a file's rows one after the other; a fault shows when its row is reached.

    Raises:
        TaskError: As `read`, but for a file without rows.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise TaskError(f"cannot read rows from '{path}'", hint=f"files end in {', '.join(READERS)}")
    try:
        yield from reader(path)
    except OSError as error:
        hint = f"rows come from files in {', '.join(READERS)}; paths start from the folder that you are in"
        raise TaskError(f"cannot read '{path}': {error.strerror or error}", hint=hint) from None
    except (ValueError, csv.Error) as error:  # ValueError: JSON, UTF-8, Parquet
        suffix = path.suffix.lower()
        raise TaskError(f"'{path}' is not a readable {suffix[1:]} file: {error}", hint=EXPECTED[suffix]) from None


def count(path: Path) -> int:
    """Count a file's rows; JSONL by its lines, Parquet by its footer."""
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            return sum(not line.isspace() for line in file)
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return int(parquet.read_metadata(path).num_rows)
    return sum(1 for _ in stream(path))


def from_hub(data: Data, split: str) -> list[Fields]:
    """Download a split of a data set on the hub, or take it from the local cache.

    Raises:
        TaskError: It could not be had, for whatever reason the hub's library gives.
    """
    import datasets

    name = f"{data.hub}/{data.config}" if data.config else str(data.hub)
    try:
        rows = datasets.load_dataset(data.hub, data.config, revision=data.revision, split=split)
    except Exception as error:  # offline, unknown, gated, damaged cache: the library has no common error for them
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TaskError(
            f"cannot load split '{split}' of '{name}' from the hub: {reason}",
            hint="`icl` and `tune` take local files as well: --train FILE --test FILE",
        ) from None
    return [dict(row) for row in rows]


def _csv(path: Path) -> Iterator[Fields]:
    # The csv module, not pandas: "NA" stays "NA", "01" stays "01", and a row of another length is a fault.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        names = reader.fieldnames or []
        if len(set(names)) < len(names):
            raise ValueError(f"two columns have one name: {', '.join(names)}")
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
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: {error.msg} at character {error.colno}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not an object")
        yield row


def _parquet(path: Path) -> Iterator[Fields]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield from batch.to_pylist()


EXPECTED = {
    ".csv": "UTF-8, a line of column names, then as many fields in each row; double quotes around text with commas",
    ".jsonl": 'UTF-8, and in each line one object: {"text": "...", "label": "..."}',
    ".parquet": "as pandas and datasets write it",
}
READERS: dict[str, Callable[[Path], Iterator[Fields]]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
