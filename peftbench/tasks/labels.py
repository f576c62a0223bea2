"""How a label is written: as a name, an integer, a digit in a string, or a boolean; all become an index."""

from collections.abc import Sequence
from typing import Any

MAX_DIGITS = 9
"""Of an index: a longer number means none of the classes, and Python reads none of more than 4,300 digits."""
MISSING = frozenset({"", "-1", "None"})
"""How rows without a label are written, those of hidden test sets among them."""
YES_NO = {"true": "yes", "false": "no"}


def index(value: Any, names: Sequence[str]) -> int | None:
    """Return the index of the name that a label means; None where it means none of them.

    A name counts in any case, with blanks or with underscores, and wins over an index. Where names are numbers
    themselves ("1" to "5" stars) no label is an index: 1 would be the first name or the second, and nobody could tell.
    Without a name that fits, False is 0 and True is 1.
    """
    text = str(value).strip()
    if text in names:
        return names.index(text)
    folded = [_folded(name) for name in names]
    key = _folded(text)
    for candidate in (key, YES_NO.get(key, key)):
        if folded.count(candidate) == 1:
            return folded.index(candidate)
    if any(_is_number(name) for name in names):
        return None
    if key in YES_NO and len(names) == 2:
        return int(key == "true")
    is_short = len(text) <= MAX_DIGITS
    return int(text) if text.isdecimal() and is_short and int(text) < len(names) else None


def index_in_row(value: Any, choices: Sequence[str]) -> int | None:
    """Return the index of the row's choice that a label means: an integer is a position, a string a text first."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < len(choices) else None
    return index(value, choices)


def _folded(name: str) -> str:
    return name.casefold().replace("_", " ")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
