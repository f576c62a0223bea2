"""Who is at work on which cell: hints, not locks. They save that two processes run one cell, and decide nothing.

A claim is a file `claims/ID`, made exclusively, that says host, process and time; its time of change is its heartbeat.
One whose process has gone, or that has missed a few beats, is stale. Where clocks differ by more, or a file system
shows files late, a cell is run twice: the first record stays.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from peftbench.store.record import now

BEAT = 20.0
"""Seconds between heartbeats."""
NUM_MISSED = 6
"""Beats after which a claim is stale."""

Item = TypeVar("Item")


class Claims:
    """The claims of a results folder.

    Args:
        folder: Where they lie; it is there only while there are some.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_others(self, record_id: str) -> bool:
        """Tell whether another process that lives is at work on a cell."""
        path = self.folder / record_id
        try:
            is_fresh = abs(time.time() - path.stat().st_mtime) < NUM_MISSED * BEAT
            owner = json.loads(path.read_text(encoding="utf-8"))
            host, pid = owner["host"], int(owner["pid"])
        except (OSError, ValueError, KeyError, TypeError):  # nobody's; or cut, as its writer died
            return False
        if host != os.uname().nodename:
            return is_fresh
        return is_fresh and pid != os.getpid() and _lives(pid)

    def others_last(self, items: Iterable[Item], record_id: Callable[[Item], str]) -> Iterator[Item]:
        """Return items in their order, but those last that another process is at work on when their turn comes."""
        put_off = []
        for item in items:
            if self.is_others(record_id(item)):
                put_off.append(item)
            else:
                yield item
        yield from put_off

    @contextmanager
    def claim(self, record_id: str) -> Iterator[None]:
        """Claim a cell while the block runs, where nobody else has a fresh claim and the folder may be written."""
        path, is_over = self.folder / record_id, threading.Event()
        owner = None if self.is_others(record_id) else _make(path)
        beating = threading.Thread(target=_beat, args=(path, is_over), daemon=True)
        if owner:
            beating.start()
        try:
            yield
        finally:
            is_over.set()
            if owner:
                beating.join()
                _remove(path, owner)

    def sweep(self) -> None:
        """Remove claims that are stale by their beats."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if abs(time.time() - path.stat().st_mtime) >= NUM_MISSED * BEAT:
                    _remove(path)


def _make(path: Path) -> str | None:
    """Make a claim, after removing a stale one; return what it says, or None where it could not be made."""
    owner = json.dumps({"host": os.uname().nodename, "pid": os.getpid(), "since": now()})
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(owner)
        return owner
    return None


def _beat(path: Path, is_over: threading.Event) -> None:
    while not is_over.wait(BEAT):
        with suppress(OSError):
            os.utime(path)


def _remove(path: Path, owner: str | None = None) -> None:
    """Remove a claim, where it still is this owner's, and the folder with the last one."""
    with suppress(OSError, ValueError):
        if owner is None or path.read_text(encoding="utf-8") == owner:
            path.unlink(missing_ok=True)
        path.parent.rmdir()


def _lives(pid: int) -> bool:
    """Tell whether a process of this host lives; one of another user does, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
