"""Progress and remarks, on stderr: bars for a terminal, now and then a line for a file, nothing when quiet.

Titles and remarks hold names of strangers: they are text, no markup, and no terminal obeys them.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from peftbench.learners import progress as stages
from peftbench.learners.progress import Advance, Remaining
from peftbench.report.formats import escape

SECONDS_BETWEEN_LINES = 10.0
BAR_WIDTH = 24


class Watch(stages.Watch, Protocol):
    """A listener to progress that also waits."""

    def waiting(self, title: str) -> AbstractContextManager[object]:
        """Open a stage of unknown length."""
        ...


class Bars:
    """Live bars: one of the stage, above it one of the whole run; they go away when the stage ends."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._remaining: Remaining | None = None

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Show a bar with the last remark, the time elapsed and the time left."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR_WIDTH),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}", markup=False),
        )
        progress = Progress(*columns, console=self.console)
        task = progress.add_task(escape.line(title), total=total or None, remark="")
        with Live(get_renderable=lambda: self._bars(progress), console=self.console, transient=True):

            def advance(steps: int, remark: str) -> None:
                progress.advance(task, steps)
                if remark:
                    progress.update(task, remark=escape.line(remark))

            yield advance

    def remain(self, remaining: Remaining) -> None:
        """Show it above the stage's bar."""
        self._remaining = remaining

    def _bars(self, stage: Progress) -> RenderableType:
        if self._remaining is None:
            return stage
        whole = Table.grid(padding=(0, 1))
        bar = ProgressBar(1.0, self._remaining.share, width=BAR_WIDTH)
        whole.add_row(self._remaining.cells or "all", bar, self._remaining.time)
        return Group(whole, stage)

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
        self._remaining: Remaining | None = None

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Print how far the stage is, its last remark, and what remains of the whole run."""
        num_steps, last_remark, last_line = 0, "", time.monotonic()

        def advance(steps: int, remark: str) -> None:
            nonlocal num_steps, last_remark, last_line
            num_steps, last_remark = num_steps + steps, remark or last_remark
            if time.monotonic() - last_line > SECONDS_BETWEEN_LINES:
                last_line = time.monotonic()
                of_total = f" of {total:,}" if total else ""
                remark, left = (f", {text}" if text else "" for text in (last_remark, self._remaining))
                self.say(f"{title}: {num_steps:,}{of_total}{remark}{left}")

        yield advance

    def remain(self, remaining: Remaining) -> None:
        """Print it with the next line."""
        self._remaining = remaining

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


@contextmanager
def loading(progress: Watch) -> Iterator[None]:
    """Wait for libraries to be imported; what they make stays, and looking through it for garbage takes its time."""
    gc.disable()
    try:
        with progress.waiting("loading torch and transformers"):
            yield
    finally:
        gc.freeze()
        gc.enable()
