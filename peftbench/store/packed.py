"""The packed records of a results folder; `pack.py` writes them."""

from functools import cached_property
from pathlib import Path

from peftbench.store.parquet import read_table

FILE = "records.parquet"


class Pack:
    """The packed records of a results folder.

    Args:
        root: The results folder; nothing need be packed in it.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / FILE

    @cached_property
    def records(self) -> dict[str, str]:
        """Record id -> the record's text; read when it is first needed.

        Raises:
            OSError: The file cannot be read; or ValueError, KeyError, where it is damaged.
        """
        if not self.path.exists():
            return {}
        columns = read_table(self.path).to_pydict()
        return dict(zip(columns["id"], columns["record"], strict=True))
