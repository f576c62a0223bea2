"""Where a store's records are: in the folder that they are read from, or elsewhere, with a copy in that folder."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from peftbench.store.claims import Notes
    from peftbench.store.record import Record

URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")
"""An address as it is typed, or as `Path` writes it: with one slash. Letters of drives are no schemes."""
ABSOLUTE = ("file", "local")
"""Schemes whose paths begin with a slash."""


class Place(Protocol):
    """Where records are, and how a whole one gets there so that the first writer wins.

    Args:
        folder: A results folder of single files, which records are read from.
        claims: Who is at work on which cell.
    """

    folder: Path

    @property
    def claims(self) -> "Notes":
        """See above."""
        ...

    def check_writable(self) -> None:
        """Make sure that a record can be published.

        Raises:
            RecordError: It cannot; or who is first could not be told.
        """
        ...

    def settle(self) -> None:
        """Bring all records into the folder."""
        ...

    def settle_record(self, record_id: str) -> None:
        """Bring one record into the folder, if there is such a record."""
        ...

    def bring_scores(self, record: "Record") -> None:
        """Bring a record's scores into the folder, if there are some."""
        ...

    def has_adapter(self, record: "Record") -> bool:
        """Tell whether what was learned is there with a record."""
        ...

    def publish(
        self, staged: Path, record: "Record", standing: "Callable[[], Record | None]", *, force: bool
    ) -> "Record":
        """Put a record and all that belongs to it where records are, whole or not at all.

        Args:
            staged: They, as in a results folder of their own.
            record: The record.
            standing: Finds the whole record of its id in `folder`, if there is one.
            force: Replace a record that is there.

        Returns:
            The record that is there now.
        """
        ...


def url(root: str | Path) -> str | None:
    """Return the address that a results folder is named by; None where it is the path of a local folder."""
    match = URL.fullmatch(str(root))
    return match and f"{match[1]}://{'/' if match[1] in ABSOLUTE else ''}{match[2].rstrip('/')}"


def named(root: str | Path) -> str:
    """Write what a results folder is named by as it is typed: an address with both of its slashes."""
    return url(root) or str(root)
