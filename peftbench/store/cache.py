"""The user's cache folder: what lies there can be had again, and may go away at any time."""

import os
import sys
from pathlib import Path

NAME = "peftbench"


def folder(kind: str) -> Path | None:
    """Return the folder of a kind of things in the platform's usual place; None where a user has no such place.

    That is `$XDG_CACHE_HOME/peftbench`, or in the user's home .cache on Linux, Library/Caches on macOS; on Windows
    it is %LOCALAPPDATA%.
    """
    place = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None)
    if place:
        return Path(place) / NAME / kind if Path(place).is_absolute() else None
    try:
        home = Path.home()
    except RuntimeError:
        return None
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / NAME / kind
