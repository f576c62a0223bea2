"""Files of rows, in each format that rows are read from."""

import csv
import json
from pathlib import Path

import pyarrow
from pyarrow import parquet


def write(path: Path, rows: list[dict]) -> Path:
    """Write rows in the format of the path's suffix; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path
