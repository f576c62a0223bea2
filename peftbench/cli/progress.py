"""Progress and remarks, on stderr: bars for a terminal, now and then a line for a file, nothing when quiet."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int, str], None]
SECONDS_BETWEEN_LINES = 10.0


class Watch(Protocol):
    """Whoever looks on."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Advance]:
        """Open a stage of so many steps, 0 where nobody knows; the function that it gives takes (advance, remark)."""
        ...

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Open a stage of unknown length."""
        ...

    def say(self, text: str) -> None:
        """Say something that is no result."""
        ...


class Bars:
    """Live bars; a bar goes away when its stage ends."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Show a bar with the remark, the time that went by and the time that is left."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}"),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=total or None, remark="")

            def advance(steps: int, remark: str) -> None:
                progress.advance(task, steps)
                if remark:
                    progress.update(task, remark=remark)

            yield advance

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Turn a spinner."""
        return self.console.status(title)

    def say(self, text: str) -> None:
        """Print above the bars."""
        self.console.print(text, markup=False, highlight=False)


class Lines:
    """A line every ten seconds: what a log file can hold."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Print how far the stage is, and its last remark."""
        done, last, spoken = 0, "", time.monotonic()

        def advance(steps: int, remark: str) -> None:
            nonlocal done, last, spoken
            done, last = done + steps, remark or last
            if time.monotonic() - spoken > SECONDS_BETWEEN_LINES:
                spoken = time.monotonic()
                self.say(f"{title}: {done:,}{f' of {total:,}' if total else ''}{', ' if last else ''}{last}")

        yield advance

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Say nothing: whoever reads a file is not waiting."""
        return nullcontext()

    def say(self, text: str) -> None:
        """Print one line, however long."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)


class Silence:
    """Says nothing."""

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Take note of nothing."""
        yield lambda steps, remark: None

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Say nothing."""
        return nullcontext()

    def say(self, text: str) -> None:
        """Say nothing."""


def watch(*, quiet: bool) -> Watch:
    """Choose by where stderr goes."""
    if quiet:
        return Silence()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(console)
