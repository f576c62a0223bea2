"""Progress as the flow reports it: to whom is not its business."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int, str], None]
"""Takes the steps just done, and a remark."""


class Watch(Protocol):
    """A listener to progress."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Open a stage of `total` steps, 0 where that is not known."""
        ...

    def say(self, text: str) -> None:
        """Say something that is no result."""
        ...


class Silent:
    """A listener that shows nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Open a stage that shows nothing."""
        yield lambda _steps, _remark: None

    def say(self, text: str) -> None:
        """Say nothing."""


SILENT = Silent()
