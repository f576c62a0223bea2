"""Who is at work on which cell: hints, not locks. They save that two processes run one cell, and decide nothing.

A claim is a file `claims/ID`, made exclusively, that says host, process, time, and when its heart last beat. One whose
process has gone, or that has missed a few beats, is stale. Where clocks differ by more, or a file system shows files
late, a cell is run twice: the first record stays. Whatever goes wrong with a claim is no reason to stop.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from peftbench.store.files import PREFIX
from peftbench.store.record import now

BEAT = 20.0
"""Seconds between heartbeats."""
NUM_MISSED = 6
"""Beats after which a claim is stale."""

Item = TypeVar("Item")


class Notes(Protocol):
    """Small files by their names, wherever they lie."""

    def names(self) -> list[str]:
        """List them."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file's content; raise where there is no such file."""
        ...

    def create(self, name: str, content: bytes) -> None:
        """Write a file that is not there yet; raise where it is."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Write a file in the place of the one that is there."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file."""
        ...


class FolderNotes:
    """Notes in a folder, which is there only while there are some."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        """See `Notes`."""
        return [path.name for path in self.folder.iterdir()]

    def read(self, name: str) -> bytes:
        """See `Notes`."""
        return (self.folder / name).read_bytes()

    def create(self, name: str, content: bytes) -> None:
        """See `Notes`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / name).open("xb") as file:
            file.write(content)

    def replace(self, name: str, content: bytes) -> None:
        """See `Notes`."""
        temporary = self.folder / f"{PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        try:
            temporary.write_bytes(content)
            os.replace(temporary, self.folder / name)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """See `Notes`."""
        (self.folder / name).unlink(missing_ok=True)
        self.folder.rmdir()  # unless others are in it


class Claims:
    """The claims of a results folder.

    Args:
        notes: Where they lie.
    """

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def is_others(self, record_id: str) -> bool:
        """Tell whether another process that lives is at work on a cell."""
        claim = self._read(record_id)
        return claim is not None and _counts(claim) and not _is_own(claim)

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
        """Claim a cell while the block runs, where nobody else has a fresh claim and claims may be written."""
        claim = None if self.is_others(record_id) else self._make(record_id)
        is_over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(record_id, claim, is_over), daemon=True)
        if claim:
            beating.start()
        try:
            yield
        finally:
            is_over.set()
            if claim:
                beating.join()
                if self._is(record_id, claim):
                    self._remove(record_id)

    def sweep(self) -> None:
        """Remove claims that are stale by their beats, and those of processes that have gone from this host."""
        with suppress(Exception):
            for name in self._notes.names():
                claim = self._read(name)
                if claim is None or not _counts(claim):
                    self._remove(name)

    def _read(self, record_id: str) -> dict[str, Any] | None:
        """Return what a claim says; None where there is none, or a damaged one, as its writer died."""
        with suppress(Exception):
            table = json.loads(self._notes.read(record_id))
            return {"host": table["host"], "pid": int(table["pid"]), "beat": float(table["beat"]), "key": table["key"]}
        return None

    def _make(self, record_id: str) -> dict[str, Any] | None:
        """Make a claim, after removing a stale one; return it, or None where it could not be made."""
        claim = {"host": os.uname().nodename, "pid": os.getpid(), "since": now(), "key": secrets.token_hex(6)}
        with suppress(Exception):
            self._notes.read(record_id)
            self._notes.remove(record_id)
        with suppress(Exception):
            self._notes.create(record_id, _content(claim))
            return claim
        return None

    def _beat(self, record_id: str, claim: dict[str, Any], is_over: threading.Event) -> None:
        while not is_over.wait(BEAT):
            if self._is(record_id, claim):
                with suppress(Exception):
                    self._notes.replace(record_id, _content(claim))

    def _is(self, record_id: str, claim: dict[str, Any]) -> bool:
        """Tell whether a claim is still this one: somebody may have taken it for stale."""
        table = self._read(record_id)
        return table is not None and table["key"] == claim["key"]

    def _remove(self, record_id: str) -> None:
        with suppress(Exception):
            self._notes.remove(record_id)


def _content(claim: dict[str, Any]) -> bytes:
    return json.dumps(claim | {"beat": time.time()}).encode()


def _is_fresh(claim: dict[str, Any]) -> bool:
    return abs(time.time() - float(claim["beat"])) < NUM_MISSED * BEAT


def _is_own(claim: dict[str, Any]) -> bool:
    return bool(claim["host"] == os.uname().nodename and claim["pid"] == os.getpid())


def _counts(claim: dict[str, Any]) -> bool:
    """Tell whether a claim is fresh, and its process lives as far as that can be seen from here."""
    return _is_fresh(claim) and (claim["host"] != os.uname().nodename or _lives(claim["pid"]))


def _lives(pid: int) -> bool:
    """Tell whether a process of this host lives; one of another user does, too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
