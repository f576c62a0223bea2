"""A table's rows as columns of text, for every format that people read."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.report.rows import fields, subsets, transfer
from peftbench.report.rows.field import Field
from peftbench.report.rows.table import Row, Table, common_model

MODEL = "model"
"""Field of the frozen backbone."""


@dataclass(frozen=True)
class Column:
    """A header of one or more lines, and one text for each row.

    Args:
        spreads: What stands beside each text in parentheses, "" for nothing; empty where the column has none.
        is_key: Whether it says which row this is, so that it is repeated where a table is cut in parts.
        fold_at: Width from which on texts may go on in the next line; None where they may not.
        spare: Which column is left out first where a table would otherwise have to be cut in parts; 0 for never.
        name: Of its field.
    """

    header: tuple[str, ...]
    values: tuple[str, ...]
    spreads: tuple[str, ...] = ()
    is_text: bool = False
    is_key: bool = False
    fold_at: int | None = None
    spare: int = 0
    name: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """Values with their spreads, values under values: parentheses are padded to the width of the longest."""
        if not self.spreads:
            return self.values
        width = max(len(spread) for spread in self.spreads) + 2
        pairs = zip(self.values, self.spreads, strict=True)
        return tuple(f"{value} {f'({spread})':>{width}}" if spread else value for value, spread in pairs)

    @property
    def width(self) -> int:
        """Characters of the longest line."""
        return max(len(text) for text in (*self.header, *self.texts))

    @property
    def least_width(self) -> int:
        """Characters that it cannot do without."""
        return min(self.width, self.fold_at or self.width)

    @property
    def good_width(self) -> int:
        """Characters with which it reads well: texts that fold have two or three lines, not nine."""
        return min(self.width, 2 * (self.fold_at or self.width))


def summary(rows: Sequence[Row]) -> list[Column]:
    """Lay out what the rows cost and how good their scores are, as the paper's Table 1 does."""
    return _columns([field for field in fields.shown(rows) if field.heading], rows)


def per_task(table: Table) -> list[Column]:
    """Lay out median and interquartile range of each of the table's tasks."""
    return _columns(fields.of_tasks(table), table.rows)


def against_full(table: Table) -> list[Column]:
    """Lay out for rows that were tuned on another task how far they are from full fine-tuning on it; mostly nothing."""
    pairs = transfer.against_full(table.rows)
    keys = [field for field in fields.of_tasks(table) if field.is_key]
    return _columns([*keys, *transfer.differences(table.tasks, pairs)], [row for row, _ in pairs]) if pairs else []


def of_subsets(table: Table) -> list[Column]:
    """Lay out the scores on parts of the test rows, those on all rows before them; nothing where no task has parts."""
    parts = subsets.of_tasks(table)
    return _columns([*fields.of_tasks(table), *parts], table.rows) if parts else []


def select(rows: Sequence[Row], *names: str) -> list[Column]:
    """Lay out the fields of these names, after those that say which row it is."""
    return _columns([field for field in fields.shown(rows) if field.is_key or field.name in names], rows)


def _columns(shown: Sequence[Field], rows: Sequence[Row]) -> list[Column]:
    """Lay out fields; a model that all rows have stands above them, and not in each of them."""
    hidden = MODEL if common_model(rows) else ""
    return [_column(field, rows) for field in shown if field.name != hidden]


def _column(field: Field, rows: Sequence[Row]) -> Column:
    heading = field.heading
    assert heading is not None
    return Column(
        heading.lines,
        tuple(map(heading.text or field.text, rows)),
        tuple(map(heading.spread, rows)) if heading.spread else (),
        is_text=field.is_key and field.is_text,
        is_key=field.is_key,
        fold_at=heading.fold_at,
        spare=heading.spare,
        name=field.name,
    )
