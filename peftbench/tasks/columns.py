"""The columns of a file of rows, and what each holds."""

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from peftbench.spec import limits
from peftbench.tasks import labels
from peftbench.tasks.rows import Fields

MAX_FEW = 20
"""Values of a column that is taken for a label, or for a property of rows, by its values alone."""
MAX_FEW_CHARS = 60
"""Of the longest of them: a text that stands there often is a text."""
ROWS_PER_VALUE = 2
"""On average, of a label: a class needs a row to learn from and another one to be tested on."""
MAX_CODE_CHARS = 500
"""Of an id, an address or a date: what is longer is a text, and patterns take long for it."""
MAX_NUMBERS = 20
"""Different numbers from which on a label is a quantity ..."""
MAX_CODES = 100
"""... unless they are codes of classes: 0, 1, 2, ..., or 1, 2, 3, ..., up to this many ..."""
ROWS_PER_CODE = 5
"""... with at least so many rows of each, on average."""
MOST = 0.95
"""Share of a column's values by which it is named: real files have a note among their dates."""

ID_NAMES = frozenset({"id", "ids", "idx", "index", "uid", "uuid", "guid", "key", "hash"})
"""Last words of the names of columns that name rows, or those who wrote them."""

TIME = r"([T ]+\d{1,2}:\d{2}\S*( ?[AaPp]\.?[Mm]\.?)?)?"
MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez)[a-zä]*\.?"
WORDS = r"[\w ,:.+-]*"
PATTERNS = {
    "dates": rf"\d{{4}}[-/.]\d{{1,2}}([-/.]\d{{1,2}})?{TIME}|\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{2,4}}{TIME}"
    rf"|\d{{1,2}}:\d{{2}}(:\d{{2}})?|(19|20)\d\d|(?=.{{6,40}}$){WORDS}\b{MONTH}{WORDS}\b(19|20)\d\d\b{WORDS}",
    "numbers": r"[+-]?[$€£]? ?[+-]?\d[\d,.' ]*(e[+-]?\d+)? ?[%$€£]?",
    "addresses": r"(https?://|www\.)\S+|\S+@\S+\.\w+|[\w.-]+\.(com|org|net|io|edu|gov|de|uk|eu)(/\S*)?",
}
PLAIN_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """One column of a file.

    Args:
        name: As the file has it.
        values: One for each row; None where it is empty, null, or the row does not have the column.
    """

    name: str
    values: tuple[Any, ...]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What is there, as text."""
        return tuple(labels.class_name(value) for value in self.values if value is not None)

    @cached_property
    def counts(self) -> Counter[str]:
        """Text -> number of rows."""
        return Counter(self.texts)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of its name, in lower case."""
        spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", self.name)
        return tuple(re.findall(r"[^\W_]+", spaced.casefold()))

    @property
    def is_empty(self) -> bool:
        """Whether no row has a value."""
        return not self.texts

    @cached_property
    def is_nested(self) -> bool:
        """Whether it holds lists or tables."""
        return any(isinstance(value, list | tuple | dict) for value in self.values)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether all that is there are plain numbers."""
        return not self.is_empty and all(map(PLAIN_NUMBER.fullmatch, self.counts))

    @cached_property
    def is_few(self) -> bool:
        """Whether it holds few short values that stand again and again."""
        num_values = len(self.counts)
        is_repeated = 2 <= num_values <= min(MAX_FEW, len(self.texts) // ROWS_PER_VALUE)
        return is_repeated and not self.is_nested and max(map(len, self.counts)) <= MAX_FEW_CHARS

    @cached_property
    def is_yes_or_no(self) -> bool:
        """Whether it is a switch."""
        return {text.casefold() for text in self.counts} <= {"true", "false", "yes", "no"}

    @cached_property
    def is_quantity(self) -> bool:
        """Whether it holds numbers that measure something, and name no classes."""
        num_values = len(self.counts)
        if not self.is_numeric or num_values <= MAX_NUMBERS:
            return False
        numbers = sorted(map(float, self.counts))
        are_codes = numbers[0] in (0, 1) and numbers == [numbers[0] + place for place in range(num_values)]
        return not (are_codes and num_values <= MAX_CODES and len(self.texts) >= ROWS_PER_CODE * num_values)

    @cached_property
    def can_be_label(self) -> bool:
        """Whether its values can be classes."""
        num_values, most = len(self.counts), min(limits.MAX_CHOICES, len(self.texts) // ROWS_PER_VALUE)
        return 2 <= num_values <= most and not self.is_nested and not self.is_quantity

    @cached_property
    def is_id(self) -> bool:
        """Whether its values name rows, or those who wrote them, and say nothing."""
        is_word = self._share(lambda text: not re.search(r"\s", text)) >= MOST
        if is_word and self.words and self.words[-1] in ID_NAMES:
            return True
        has_digits = self._share(lambda text: bool(re.search(r"\d", text))) >= MOST
        return is_word and has_digits and len(self.counts) >= MOST * len(self.texts)

    @cached_property
    def kind(self) -> str:
        """What it holds, in the words of the assumptions: "texts", or why it is none."""
        if self.is_empty:
            return "empty"
        if self.is_nested:
            return "lists"
        if any(isinstance(value, datetime.date | datetime.time | datetime.timedelta) for value in self.values):
            return "dates"
        if self.words and self.words[-1] in ID_NAMES and self.is_id:
            return "ids"
        for name, pattern in PATTERNS.items():
            if self._share(re.compile(pattern, re.IGNORECASE).fullmatch) >= MOST:
                return name
        if len(self.counts) == 1:
            return "always the same"
        if self.is_id:
            return "ids"
        if self.is_yes_or_no:
            return "yes or no"
        return "few values" if self.is_few else "texts"

    def _share(self, fits: Any) -> float:
        fitting = (number for text, number in self.counts.items() if len(text) <= MAX_CODE_CHARS and fits(text))
        return sum(fitting) / len(self.texts)


def columns(rows: Sequence[Fields]) -> list[Column]:
    """Make the columns of rows, in the order in which the rows name them."""
    names = dict.fromkeys(name for fields in rows for name in fields)
    return [Column(name, tuple(_present(fields.get(name)) for fields in rows)) for name in names]


def _present(value: Any) -> Any:
    return None if labels.is_missing(value) else value
