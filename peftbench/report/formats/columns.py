"""A table's rows as columns of text, for every format that people read."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.report.rows import units
from peftbench.report.rows.table import Interval, Row, Spread, Table, Task

MARK = "~"
"""Stands before a number that is estimated by the paper's rule and not counted."""

METHOD_WIDTH, MODEL_WIDTH = 13, 8
"""Characters beyond which names may fold: the longest method's, and enough for an embedded model's."""


@dataclass(frozen=True)
class Column:
    """A header of one or more lines, and one text for each row.

    Args:
        is_key: Whether it says which row this is, so that it is repeated where a table is cut in parts.
        fold_at: Width from which on texts may go on in the next line; None where they may not.
        is_spare: Whether it is left out where a table would otherwise have to be cut in parts.
    """

    header: tuple[str, ...]
    values: tuple[str, ...]
    is_text: bool = False
    is_key: bool = False
    fold_at: int | None = None
    is_spare: bool = False

    @property
    def width(self) -> int:
        """Characters of the longest line."""
        return max(len(text) for text in (*self.header, *self.values))

    @property
    def least_width(self) -> int:
        """Characters that it cannot do without."""
        return min(self.width, self.fold_at or self.width)

    @property
    def good_width(self) -> int:
        """Characters with which it reads well: texts that fold have two or three lines, not nine."""
        return min(self.width, 2 * (self.fold_at or self.width))


def summary(rows: Sequence[Row]) -> list[Column]:
    """Lay out what the rows cost and how accurate they are, as the paper's Table 1 does."""
    return [
        *keys(rows),
        Column(("inference", "FLOPs/ex."), tuple(flops(row, "inference_flops_per_example") for row in rows)),
        Column(("training", "FLOPs"), tuple(flops(row, "training_flops") for row in rows)),
        Column(("disk",), tuple(units.size(row.cost("disk_bytes")) for row in rows)),
        Column(("trained", "params"), tuple(trained(row) for row in rows)),
        Column(("accuracy %", "(IQR)"), _aligned([_accuracy(row.accuracy, row.iqr) for row in rows])),
        Column(("95 %", "interval"), tuple(interval(row.interval) for row in rows), is_spare=True),
        Column(("chance",), tuple(units.ABSENT if row.chance is None else units.percent(row.chance) for row in rows)),
        Column(("n",), tuple(units.count(row.num_examples) for row in rows)),
        Column(_pool_header(rows), tuple(pool(row, rows) for row in rows)),
    ]


def per_task(table: Table) -> list[Column]:
    """Lay out median and interquartile range of each of the table's tasks."""
    return keys(table.rows) + [
        Column(_heading(task), _aligned([spread(row.spreads[task]) for row in table.rows])) for task in table.tasks
    ]


def keys(rows: Sequence[Row]) -> list[Column]:
    """Lay out what says which row it is."""
    methods, models = tuple(method(row) for row in rows), tuple(row.model for row in rows)
    return [
        Column(("method",), methods, is_text=True, is_key=True, fold_at=METHOD_WIDTH),
        Column(("model",), models, is_text=True, is_key=True, fold_at=MODEL_WIDTH),
        Column(("shots",), tuple(row.shots for row in rows), is_key=True),
    ]


def _heading(task: Task) -> tuple[str, ...]:
    return task.name, f"chance {units.percent(task.chance)}", f"n {task.num_examples:,}"


def method(row: Row) -> str:
    """Name the way of learning, and what tells the row from others of it."""
    return f"{row.method} {row.label}" if row.label else row.method


def flops(row: Row, name: str) -> str:
    """Write a cost in FLOPs, marked where it is estimated."""
    value = row.cost(name)
    estimated = value and row.costs[name].kind == "estimated"
    return (MARK if estimated else "") + units.flops(value)


def have_orders(rows: Sequence[Row]) -> bool:
    """Say whether some rows were run with their shots in several orders."""
    return any(row.num_orders != "1" for row in rows)


def _pool_header(rows: Sequence[Row]) -> tuple[str, ...]:
    return ("seeds x", "orders x", "templ.") if have_orders(rows) else ("seeds x", "templ.")


def pool(row: Row, rows: Sequence[Row]) -> str:
    """Write over how many seeds and templates medians were taken; and orders of the shots, where rows have several."""
    if not row.num_seeds:
        return units.ABSENT
    return " x ".join([row.num_seeds, *[row.num_orders] * have_orders(rows), row.num_templates])


def trained(row: Row) -> str:
    """Write the trained parameters, and their share of the model's."""
    if row.num_trained_parameters is None or not row.num_parameters:
        return units.ABSENT
    if not row.num_trained_parameters:
        return "0"
    share = units.fraction(row.num_trained_parameters / row.num_parameters)
    return f"{units.number(row.num_trained_parameters)} {share}"


def interval(ends: Interval | None) -> str:
    """Write an interval of accuracies in percent: 59.1-64.2."""
    return units.ABSENT if ends is None else "-".join(units.percent(end) for end in ends)


def spread(one: Spread) -> str:
    """Write the accuracy on one task."""
    return _accuracy(one.median, one.iqr)


def _accuracy(median: float, iqr: float | None) -> str:
    """Write the paper's way: median (IQR), both in percent; no parentheses where there is one value only."""
    return units.percent(median) if iqr is None else f"{units.percent(median)} ({units.percent(iqr)})"


def _aligned(texts: Sequence[str]) -> tuple[str, ...]:
    """Put medians under medians: parentheses are padded to the width of the longest."""
    pairs = [text.split(" ") for text in texts]
    width = max(len(pair[-1]) for pair in pairs)
    return tuple(f"{pair[0]} {pair[1]:>{width}}" if len(pair) == 2 else pair[0] for pair in pairs)
