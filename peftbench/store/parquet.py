"""Reading of Parquet files that may be damaged."""

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pyarrow


def read_table(path: Path) -> "pyarrow.Table":
    """Read a Parquet file.

    Raises:
        OSError: There is none, or it may not be read.
        ValueError: It is damaged.
    """
    with path.open("rb") as file:
        return parse_table(file)


def parse_table(file: BinaryIO) -> "pyarrow.Table":
    """Read an open Parquet file.

    Raises:
        ValueError: It is damaged: pyarrow has a dozen kinds of errors for that.
    """
    from pyarrow import parquet

    try:
        # parquet.read_table imports pandas, which takes longer than all that is read.
        return parquet.ParquetFile(file).read()
    except Exception as error:
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None
