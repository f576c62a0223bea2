"""A table's rows as columns of text, for every format that people read."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.report import units
from peftbench.report.table import Row, Spread, Table, Task

MARK = "~"
"""Stands before a number that is estimated by the paper's rule and not counted."""


@dataclass(frozen=True)
class Column:
    """A header of one or more lines, and one text for each row."""

    header: tuple[str, ...]
    values: tuple[str, ...]
    is_text: bool = False
    may_fold: bool = False


def summary(rows: Sequence[Row]) -> list[Column]:
    """Lay out what the rows cost and how accurate they are, as the paper's Table 1 does."""
    return [
        *_names(rows),
        Column(("shots",), tuple(row.shots for row in rows)),
        Column(("inference", "FLOPs/ex."), tuple(_flops(row, "inference_flops_per_example") for row in rows)),
        Column(("training", "FLOPs"), tuple(_flops(row, "training_flops") for row in rows)),
        Column(("disk",), tuple(units.size(row.cost("disk_bytes")) for row in rows)),
        Column(("trained", "params"), tuple(_trained(row) for row in rows)),
        Column(("accuracy %", "(IQR)"), _aligned([_accuracy(row.accuracy, row.iqr) for row in rows])),
        Column(("chance",), tuple(units.ABSENT if row.chance is None else units.percent(row.chance) for row in rows)),
        Column(("n",), tuple(f"{row.num_examples:,}" if row.num_examples else units.ABSENT for row in rows)),
        Column(("seeds x", "templ."), tuple(_pool(row) for row in rows)),
    ]


def per_task(table: Table, tasks: Sequence[Task]) -> list[Column]:
    """Lay out median and interquartile range of some of the table's tasks."""
    several_shots = len({row.shots for row in table.rows}) > 1
    columns = _names(table.rows)
    if several_shots:
        columns.append(Column(("shots",), tuple(row.shots for row in table.rows)))
    return columns + [
        Column(_heading(table, task), _aligned([_spread(row.spreads[task]) for row in table.rows])) for task in tasks
    ]


def _names(rows: Sequence[Row]) -> list[Column]:
    methods = tuple(_method(row) for row in rows)
    return [
        Column(("method",), methods, is_text=True, may_fold=any(row.variant for row in rows)),
        Column(("model",), tuple(row.model for row in rows), is_text=True, may_fold=True),
    ]


def _heading(table: Table, task: Task) -> tuple[str, ...]:
    namesakes = [other for other in table.tasks if other.name == task.name]
    name = f"{task.name} [{task.sha256[:6]}]" if len(namesakes) > 1 else task.name
    return name, f"chance {units.percent(task.chance)}", f"n {task.num_examples:,}"


def _method(row: Row) -> str:
    return f"{row.method} ({row.variant})" if row.variant else row.method


def _flops(row: Row, name: str) -> str:
    value = row.cost(name)
    estimated = value and row.costs[name].kind == "estimated"
    return (MARK if estimated else "") + units.flops(value)


def _pool(row: Row) -> str:
    return f"{row.num_seeds} x {row.num_templates}" if row.num_seeds else units.ABSENT


def _trained(row: Row) -> str:
    if row.num_trained_parameters is None or not row.num_parameters:
        return units.ABSENT
    if not row.num_trained_parameters:
        return "0"
    share = units.fraction(row.num_trained_parameters / row.num_parameters)
    return f"{units.number(row.num_trained_parameters)} {share}"


def _spread(spread: Spread) -> str:
    return _accuracy(spread.median, spread.iqr)


def _accuracy(median: float, iqr: float | None) -> str:
    """Write the paper's way: median (IQR), both in percent; no parentheses where there is one value only."""
    return units.percent(median) if iqr is None else f"{units.percent(median)} ({units.percent(iqr)})"


def _aligned(texts: Sequence[str]) -> tuple[str, ...]:
    """Put medians under medians: parentheses are padded to the width of the longest."""
    pairs = [text.split(" ") for text in texts]
    width = max(len(pair[-1]) for pair in pairs)
    return tuple(f"{pair[0]} {pair[1]:>{width}}" if len(pair) == 2 else pair[0] for pair in pairs)
