"""Scores of single answer choices, as Parquet with the SHA-256 of their values."""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from peftbench.store.parquet import parse_table

if TYPE_CHECKING:
    import pandas as pd

DIGEST = b"peftbench.sha256"


def write(path: Path, scores: "pd.DataFrame") -> None:
    """Write scores, one row per (template, example, choice)."""
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pandas(scores, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), DIGEST: _digest(scores)}
    parquet.write_table(table.replace_schema_metadata(metadata), path, compression="zstd")


def read(path: Path, sha256: str | None = None) -> "pd.DataFrame":
    """Read scores; those that were written without a digest are taken as they are.

    Args:
        path: Of their file.
        sha256: Of the file that their record was written with; None where the record does not say it.

    Raises:
        OSError: There is no such file, or it may not be read.
        ValueError: It is damaged, or another one than the record's.
    """
    content = path.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("their SHA-256 is not the one in the record")
    table = parse_table(io.BytesIO(content))
    try:
        scores: pd.DataFrame = table.to_pandas()
    except Exception as error:
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None
    digest = (table.schema.metadata or {}).get(DIGEST)
    if digest is not None and digest != _digest(scores):
        raise ValueError("their digest is not that of their values")
    return scores


def _digest(scores: "pd.DataFrame") -> bytes:
    digest = hashlib.sha256()
    for name in scores.columns:
        values = scores[name].to_numpy()
        digest.update(f"{name}\0{values.dtype}\0{len(values)}\0".encode())
        digest.update(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())
    return digest.hexdigest().encode()
