"""Progress as the flow reports it: to whom is not its business."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

Advance = Callable[[int, str], None]
"""Takes the steps just done, and a remark."""


@dataclass(frozen=True)
class Remaining:
    """What remains of a run.

    Args:
        num_done: Cells that are done.
        num_cells: All cells.
        num_known: Cells whose time is known, those done included: the model of the others is not loaded yet.
        seconds: What those will take that are known and not done.
        share: Share of the time that has passed.
    """

    num_done: int
    num_cells: int
    num_known: int
    seconds: float
    share: float

    @property
    def cells(self) -> str:
        """How many cells are done; nothing where there is but one."""
        return f"{self.num_done} of {self.num_cells} cells" if self.num_cells > 1 else ""

    @property
    def time(self) -> str:
        """How long it takes from now on."""
        whole = self.num_known == self.num_cells
        return f"about {duration(self.seconds)} " + ("left" if whole else f"to cell {self.num_known}")

    def __str__(self) -> str:
        return ", ".join(text for text in (self.cells, self.time) if text)


def duration(seconds: float) -> str:
    """Write a duration as roughly as it is known: 40 s, 12 min, 3.5 h."""
    if seconds < 95:
        return f"{max(10, round(seconds, -1)):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Watch(Protocol):
    """A listener to progress."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Open a stage of `total` steps, 0 where that is not known."""
        ...

    def say(self, text: str) -> None:
        """Say something that is no result."""
        ...

    def remain(self, remaining: Remaining) -> None:
        """Take in what remains of the whole run."""
        ...


class Silent:
    """A listener that shows nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Open a stage that shows nothing."""
        yield lambda _steps, _remark: None

    def say(self, text: str) -> None:
        """Say nothing."""

    def remain(self, remaining: Remaining) -> None:
        """Show nothing."""


SILENT = Silent()
