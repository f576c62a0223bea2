"""How a label is written: as a name, an integer, a digit in a string, or a boolean; all become an index."""

import math
import re
from collections.abc import Sequence
from typing import Any

from peftbench.tasks.task import Task

MAX_DIGITS = 9
"""Of an index: a longer number means none of the classes, and Python reads none of more than 4,300 digits."""
MISSING = frozenset({"", "-1", "None"})
"""How rows without a label are written, those of hidden test sets among them."""
WHOLE = re.compile(r"[+-]?[0-9]{1,15}\.0+")
"""A whole number as floats are written: those of a column that has gaps."""
YES_NO = {"true": "yes", "false": "no"}


def index(value: Any, names: Sequence[str], first: int = 0) -> int | None:
    """Return the index of the name that a label means; None where it means none of them.

    A name counts in any case, with blanks or with underscores, and wins over an index. Where names are numbers
    themselves ("1" to "5" stars) no label is an index: 1 would be the first name or the second, and nobody could tell.
    Without a name that fits, False is 0 and True is 1. The number 2.0 is the name "2" where there is no "2.0".

    Args:
        value: As it stands in the label's column.
        names: Of the classes.
        first: The number that means the first of them.
    """
    text = str(value).strip()
    for exact in (text, class_name(value)):
        if exact in names:
            return names.index(exact)
    folded = [fold(name) for name in names]
    key = fold(text)
    for candidate in (key, YES_NO.get(key, key)):
        if folded.count(candidate) == 1:
            return folded.index(candidate)
    if any(_is_number(name) for name in names):
        return None
    if key in YES_NO and len(names) == 2:
        return int(key == "true")
    number = int(text) - first if text.isdecimal() and len(text) <= MAX_DIGITS else -1
    return number if 0 <= number < len(names) else None


def remark(task: Task) -> str | None:
    """Say that numbers which are used as labels look as if they were counted from 1; None where they do not.

    They do where class 0 is in no row: three choices and the labels 1 and 2. Where the highest number is that of the
    choices, it means none of them, and is refused when rows are read.

    Args:
        task: With rows whose labels are read.
    """
    rows, column = [*task.train, *task.test], task.templates[0].label
    if task.classes is None or any(row.label == 0 for row in rows):
        return None
    texts = {str(row.fields.get(column)).strip() for row in rows}
    if not all(text.isdecimal() for text in texts) or any(map(_is_number, task.classes)):
        return None
    if any(int(str(row.fields.get(column)).strip()) != row.label for row in rows):  # its file says so
        return None
    meant = ", ".join(f"{number} {name!r}" for number, name in enumerate(task.classes))
    return (
        f"{task.name}: no row has label 0, as if labels were counted from 1; they are counted from 0, in the order of "
        f"the choices ({meant}): write labels as these names where another one is meant"
    )


def count_missing(num_missing: int, num_rows: int) -> str | None:
    """Say how many rows have no label and are left out; None where all have one."""
    if not num_missing:
        return None
    return f"{num_missing:,} of {num_rows:,} rows have no label and are left out; `peftbench predict` answers such rows"


def index_in_row(value: Any, choices: Sequence[str]) -> int | None:
    """Return the index of the row's choice that a label means: an integer is a position, a string a text first."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value < len(choices) else None
    return index(value, choices)


def class_name(value: Any) -> str:
    """Write a label as the name of its class: without blanks around it, and a whole number without its zeros."""
    text = str(value).strip()
    return text.partition(".")[0] if WHOLE.fullmatch(text) else text


def is_missing(value: Any) -> bool:
    """Whether a row's label is not there: null, NaN, or nothing but blanks."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or not str(value).strip()


def fold(name: str) -> str:
    """Return what names have in common that mean one class: upper and lower case, and blanks for underscores."""
    return name.casefold().replace("_", " ")


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
