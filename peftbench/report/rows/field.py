"""What is known of a field of a row: how it is called, written, sorted and described."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peftbench.report.rows.costs import KINDS
from peftbench.report.rows.table import Interval, Row, Spread, Task
from peftbench.store.record import Record


@dataclass(frozen=True)
class Heading:
    """How tables of text show a field.

    Args:
        lines: Of the header.
        text: Writes the value, where that is not what `Field.text` writes.
        spread: Writes what stands beside it in parentheses; "" for nothing.
        fold_at: Width from which on texts may go on in the next line; None where they may not.
        spare: Which column is left out first where a table would otherwise have to be cut in parts: 1 before 2; 0 for
            those that never are.
    """

    lines: tuple[str, ...]
    text: Callable[[Row], str] | None = None
    spread: Callable[[Row], str] | None = None
    fold_at: int | None = None
    spare: int = 0


@dataclass(frozen=True)
class Field:
    """A fact of a row: how it is called, written, sorted and described.

    Args:
        name: In JSON, CSV and frames.
        value: What JSON and CSV hold.
        type: Of the value in JSON; None for what JSON has elsewhere, or not at all.
        about: One line for the schema.
        of_record: Reads it from a single record, for frames; None where that cannot be done.
        title: Header on a page, and what `--sort` takes; "" for what a page does not show.
        unit: Of the text, or "".
        hint: One line for the page.
        text: Writes the value for people.
        sort_by: What rows are sorted by; None for the text.
        best_is_high: Whether more of it is better.
        is_key: Whether it says which row it is.
        is_count: Whether it says over how many the scores are, so that it is shown after them.
        is_beside: Whether rows have it beside a score of another metric only.
        is_shown: Whether it is shown for these rows.
        heading: How tables of text show it; None where they do not.
    """

    name: str
    value: Callable[[Row], Any]
    type: Any = None
    about: str = ""
    of_record: Callable[[Record], Any] | None = None
    title: str = ""
    unit: str = ""
    hint: str = ""
    text: Callable[[Row], str] = str
    sort_by: Callable[[Row], float | None] | None = None
    best_is_high: bool = False
    is_key: bool = False
    is_count: bool = False
    is_beside: bool = False
    is_shown: Callable[[Sequence[Row]], bool] = lambda rows: True
    heading: Heading | None = None

    @property
    def is_text(self) -> bool:
        """Whether it holds words."""
        return self.sort_by is None

    @property
    def is_interval(self) -> bool:
        """Whether its value has two ends, which CSV has in two columns."""
        return bool(self.type == Interval | None)

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost, which has a kind beside its value."""
        return self.name in KINDS


@dataclass(frozen=True)
class TaskField:
    """A fact of a row on one task, as JSON and CSV have it.

    Args:
        name: As the row's field over all tasks, where there is one.
        type: Of the value in JSON; None for what JSON has of the task itself.
        about: One line for the schema.
        is_beside: As of a row's field.
    """

    name: str
    value: Callable[[Task, Spread], Any]
    type: Any = None
    about: str = ""
    is_beside: bool = False
