"""Journals: what a worker writes down of its progress, a line of JSON each, and how the others read it meanwhile.

A file in the results folder is there for workers on other machines as well, and nobody waits for a worker that dies
while it writes.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from peftbench.flow.engines.engine import Answer
from peftbench.learners.progress import Advance, Remaining

SECONDS_BETWEEN_LINES = 0.5


class Journal:
    """A watch that writes down what it is told.

    Args:
        path: A new file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = 0.0
        self._left: float | None = None

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Advance]:
        """Write down how far a stage is, now and then."""
        num_done = 0
        self._write({"stage": title, "left": self._left})

        def advance(steps: int, remark: str) -> None:
            nonlocal num_done
            num_done += steps
            if time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
                of_total = f" of {total:,}" if total else ""
                self._write({"stage": f"{title} {num_done:,}{of_total}", "left": self._left})

        yield advance

    def say(self, text: str) -> None:
        """Write it down, for the others to say once."""
        self._write({"say": text})

    def remain(self, remaining: Remaining) -> None:
        """Keep what remains for the next line."""
        self._left = remaining.seconds

    def answer(self, answer: Answer) -> None:
        """Write down what came of a cell."""
        self._write({"answer": answer})

    def _write(self, table: dict[str, Any]) -> None:
        self._last = time.monotonic()
        # Who reads it may be gone, or the disk full: writing a record tells.
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(table) + "\n")


class Reader:
    """Reads a journal as it grows.

    Args:
        path: May not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the whole lines that are new."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                content = file.read()
        except OSError:
            return
        for line in content.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            self._position += len(line)
            yield json.loads(line)
