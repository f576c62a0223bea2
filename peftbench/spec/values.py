"""Values that strangers wrote: what a setting or a row's field may hold, and TOML that is read within these limits."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftbench.spec import limits


def check(value: Any, place: str = "", *, deepest: int = limits.MAX_DEPTH, depth: int = 0) -> None:
    """Refuse what cannot be saved, printed or computed with later on.

    Args:
        value: A text, a number, a table or a list; other objects pass.
        place: Where it stands, as errors name it.
        deepest: How many tables and lists may stand in each other.
        depth: Of the tables and lists that it stands in.

    Raises:
        ValueError: Beyond a limit of `spec.limits`, bytes, or a text that is no UTF-8.
    """
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, bytes | bytearray):
        raise ValueError(f"{_at(place)}bytes, where text is needed")
    elif isinstance(value, int) and abs(value) > limits.MAX_NUMBER:
        raise ValueError(f"{_at(place)}a whole number beyond {limits.MAX_NUMBER}")
    elif isinstance(value, Mapping | list | tuple | set):
        if depth >= deepest:
            raise ValueError(f"{_at(place)}tables and lists in each other, deeper than {deepest}")
        if isinstance(value, Mapping):
            for name, item in value.items():
                check(name, f"a name in {place}" if place else "a name", deepest=deepest, depth=depth)
                check(item, f"{place}.{name}" if place else str(name), deepest=deepest, depth=depth + 1)
        else:
            for index, item in enumerate(value):
                check(item, f"{place}[{index}]", deepest=deepest, depth=depth + 1)


def _check_text(text: str, place: str) -> None:
    if len(text) > limits.MAX_CHARS:
        raise ValueError(f"{_at(place)}a text of {len(text):,} characters, and {limits.MAX_CHARS:,} are the most")
    if not is_utf8(text):
        raise ValueError(f"{_at(place)}a text that is no UTF-8: {text[:40]!a}")


def _at(place: str) -> str:
    return f"{ascii(place[:80])[1:-1]}: " if place else ""


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: halves of surrogate pairs and undecodable bytes cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def longest_name(path: str) -> str:
    """Return the part between slashes that takes the most bytes.

    Raises:
        UnicodeEncodeError: The path is no UTF-8.
    """
    return max(path.split("/"), key=lambda part: len(part.encode()))


def toml_file(path: Path) -> dict[str, Any]:
    """Read a TOML file; see `toml`. No more is read than a file may hold: a device would never end.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no TOML, no UTF-8, or beyond the limits.
    """
    with path.open("rb") as file:
        content = file.read(limits.MAX_TOML_BYTES + 1)
    if len(content) > limits.MAX_TOML_BYTES:
        raise ValueError(f"more than {limits.MAX_TOML_BYTES:,} bytes")
    return toml(content.decode().replace("\r\n", "\n"))


def toml(text: str) -> dict[str, Any]:
    """Read TOML.

    Raises:
        ValueError: It is none, or a value in it is beyond the limits.
    """
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"tables and lists in each other, deeper than {limits.MAX_DEPTH}") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python's own limit on digits
        raise ValueError(f"a whole number beyond {limits.MAX_NUMBER}") from None
    check(table)
    return table
