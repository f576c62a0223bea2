"""Rows of random words: texts of the task's own words and of its usual length, which say nothing."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

from peftbench.tasks.task import Row
from peftbench.tasks.template import replaced


def random_rows(rows: Sequence[Row], number: int, label: str, seed: int) -> tuple[Row, ...]:
    """Make rows whose texts are random words of the same column of other rows.

    A text has as many words as the column's texts have at mean, each drawn from all words of the column with
    replacement. Words are what white space parts, as they are written. What is no text is taken from the rows, in turn.

    Args:
        rows: Where the words come from; at least one.
        number: How many rows are made.
        label: Name of the label's column, which is taken as it is.
        seed: Of the words; they hang on what stands in the rows, and on nothing else.

    Paper: 2305.19148, domain-context calibration.
    """
    columns = {name for row in rows for name in row.fields} - {label}
    words = {name: _Words(f"{seed}\0{name}", [row.fields.get(name) for row in rows]) for name in sorted(columns)}
    return tuple(_random_row(rows[index % len(rows)], words) for index in range(number))


def _random_row(row: Row, words: Mapping[str, "_Words"]) -> Row:
    fields = {name: replaced(value, words[name].text) if name in words else value for name, value in row.fields.items()}
    return replace(row, fields=fields)


class _Words:
    """The words of one column, and how many a text of it has.

    Args:
        name: What tells its draws from those of other columns and seeds.
        values: The column's.
    """

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        texts = [text.split() for value in values for text in _texts(value)]
        self._bag = [word for text in texts for word in text]
        self._length = max(1, round(mean(map(len, texts)))) if texts else 0
        self._name, self._num_drawn = name, 0

    def text(self) -> str:
        """Draw one text; an empty one where the column has no word."""
        return " ".join(self._word() for _ in range(self._length)) if self._bag else ""

    def _word(self) -> str:
        self._num_drawn += 1
        digest = hashlib.sha256(f"words\0{self._name}\0{self._num_drawn}".encode()).digest()
        return self._bag[int.from_bytes(digest) % len(self._bag)]


def _texts(value: Any) -> Iterator[str]:
    """Yield every text, also of lists and tables."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for field in value.values():
            yield from _texts(field)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
