"""Packed records of a results folder; `pack.py` writes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peftbench.errors import RecordError
from peftbench.store.parquet import read_table

FILE = "records.parquet"
FILES = "records*.parquet"
"""What packs may be called, so that those of several folders can lie in one."""


@dataclass(frozen=True)
class Packed:
    """A packed record.

    Args:
        pack: The file that it is in.
        text: As it was written.
    """

    pack: Path
    text: str


def read(root: Path) -> Mapping[str, Packed]:
    """Read the packed records of a folder, by their ids; of two with one id the first pack's, by its name.

    Raises:
        RecordError: A pack is damaged.
    """
    records: dict[str, Packed] = {}
    for path in sorted(root.glob(FILES), reverse=True):
        try:
            columns = read_table(path).to_pydict()
            texts = dict(zip(columns["id"], columns["record"], strict=True))
        except FileNotFoundError:  # it went away since it was listed
            continue
        except (OSError, ValueError, KeyError) as error:
            why = str(error).splitlines()[0]
            raise RecordError(f"'{path}' is damaged: {why}", hint="get it again from where it came from") from None
        records |= {name: Packed(path, text) for name, text in texts.items()}
    return records
