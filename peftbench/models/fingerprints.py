"""SHA-256 of large weight files, remembered in the user's cache beside what tells that a file has changed.

That is its size, its inode and both of its times to the nanosecond; the time of change of the inode cannot be put back.
A file that was written a moment ago is hashed again: what is written within one tick of the clock has one time.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from peftbench.store import cache, files
from peftbench.store.seal import broken, sealed

LARGE = 2**25
"""Bytes from which on it is faster to remember than to hash."""
MOMENT = 5.0
"""Seconds after which a file counts as written."""


def remembered(paths: Sequence[Path]) -> str | None:
    """Return the SHA-256 of some files' contents that was remembered, if they are what they were then."""
    place = _place(paths)
    if place is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        text = place.read_text(encoding="utf-8")
        table = json.loads(text)
        if broken(text, table, is_needed=True) is None and table["files"] == _signs(paths):
            return str(table["sha256"])
    return None


def hashed(paths: Sequence[Path]) -> str:
    """Hash some files' contents, in order, and remember it where they are large and nothing changed meanwhile."""
    before, place = _signs(paths), _place(paths)
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    if place is not None and before == _signs(paths) and all(_is_old(path) for path in paths):
        table = {"files": before, "sha256": digest.hexdigest()}
        with suppress(OSError), files.replacing(place) as temporary:
            temporary.write_text(sealed(json.dumps(table, indent=2)), encoding="utf-8")
    return digest.hexdigest()


def _place(paths: Sequence[Path]) -> Path | None:
    """Return where the SHA-256 of these files is remembered; None for small ones, and where there is no cache."""
    folder = cache.folder("fingerprints")
    if folder is None or sum(path.stat().st_size for path in paths) < LARGE:
        return None
    names = json.dumps([str(path.resolve()) for path in paths])
    return folder / f"{hashlib.sha256(names.encode()).hexdigest()[:32]}.json"


def _signs(paths: Sequence[Path]) -> list[list[int | str]]:
    """List what tells that a file has changed."""
    stats = [(path, path.stat()) for path in paths]
    return [
        [str(path.resolve()), stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns] for path, stat in stats
    ]


def _is_old(path: Path) -> bool:
    stat = path.stat()
    return max(stat.st_mtime, stat.st_ctime) < time.time() - MOMENT
