"""References: the texts that an answer is compared with, from a row's columns; blank ones stand for missing ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from peftbench.errors import TaskError
from peftbench.spec import limits

HINT = "a column of texts or of lists of them, one in a table (answers.text), or several columns in a list"


def of_row(fields: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...] | None:
    """Read a row's references, in the order of the columns, blank ones included.

    Args:
        fields: Column -> value.
        columns: Names of columns; "answers.text" is the field of that name in a column of tables, or the column where
            it holds texts.

    Returns:
        The texts; None where none of the columns is there.

    Raises:
        TaskError: A value that is no text.
    """
    values = [_value(fields, column) for column in columns]
    if all(value is _ABSENT for value in values):
        return None
    return tuple(text for value, column in zip(values, columns, strict=True) for text in _texts(value, column))


def present(texts: Sequence[str]) -> tuple[str, ...]:
    """Take the references that are not blank, each different one once, without white space around them."""
    return tuple(dict.fromkeys(text.strip() for text in texts if text.strip()))


_ABSENT = object()


def _value(fields: Mapping[str, Any], column: str) -> Any:
    if column in fields:
        return fields[column]
    name, _, inner = column.partition(".")
    table = fields.get(name, _ABSENT)
    return table.get(inner, _ABSENT) if isinstance(table, Mapping) else table


def _texts(value: Any, column: str) -> list[str]:
    items = list(value) if isinstance(value, list | tuple) else [value]
    if len(items) > limits.MAX_CHOICES:
        message = f"column '{column}' holds {len(items):,} references for one row"
        raise TaskError(message, hint=f"{limits.MAX_CHOICES} are the most")
    return [_text(item, column) for item in items]


def _text(value: Any, column: str) -> str:
    if value is None or value is _ABSENT:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise TaskError(f"column '{column}' holds a {type(value).__name__}, which is no reference", hint=HINT)
