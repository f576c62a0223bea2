"""Progress and remarks, on stderr: bars for a terminal, now and then a line for a file, nothing when quiet.

Titles and remarks hold names of strangers: they are text, no markup, and no terminal obeys them.
"""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from peftbench.learners import progress as stages
from peftbench.learners.progress import Advance
from peftbench.report.formats import escape

SECONDS_BETWEEN_LINES = 10.0


class Watch(stages.Watch, Protocol):
    """A listener to progress that also waits."""

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Open a stage of unknown length."""
        ...


class Bars:
    """Live bars; a bar goes away when its stage ends."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Show a bar with the last remark, the time elapsed and the time left."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(escape.line(title), total=total or None, remark="")

            def advance(steps: int, remark: str) -> None:
                progress.advance(task, steps)
                if remark:
                    progress.update(task, remark=escape.line(remark))

            yield advance

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Turn a spinner."""
        return self.console.status(Text(escape.line(title)))

    def say(self, text: str) -> None:
        """Print above the bars."""
        self.console.print(escape.terminal(text), markup=False, highlight=False, emoji=False)


class Lines:
    """A line every ten seconds, for a log file."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Print how far the stage is, and its last remark."""
        num_steps, last_remark, last_line = 0, "", time.monotonic()

        def advance(steps: int, remark: str) -> None:
            nonlocal num_steps, last_remark, last_line
            num_steps, last_remark = num_steps + steps, remark or last_remark
            if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                of_total = f" of {total:,}" if total else ""
                self.say(f"{title}: {num_steps:,}{of_total}{f', {last_remark}' if last_remark else ''}")

        yield advance

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Print nothing: a log file has no reader who waits."""
        return nullcontext()

    def say(self, text: str) -> None:
        """Print one line, however long."""
        self.console.print(escape.terminal(text), markup=False, highlight=False, emoji=False, soft_wrap=True)


class Silence(stages.Silent):
    """No progress and no remarks."""

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Show nothing."""
        return nullcontext()

    def say(self, text: str) -> None:
        """Print nothing."""


def watch(*, quiet: bool) -> Watch:
    """Choose a listener by where stderr goes: bars on a terminal, lines elsewhere, nothing where quiet."""
    if quiet:
        return Silence()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Lines(console)
