"""Tables as data: JSON and CSV. Scores are fractions of 1, FLOPs and bytes plain numbers, absent ones empty."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

from peftbench.metrics.base import Scale
from peftbench.report.evidence.crossing import BEYOND, Crossing
from peftbench.report.formats import escape, money_text
from peftbench.report.formats.schema import SCHEMA_VERSION
from peftbench.report.notes.document import Document
from peftbench.report.rows import fields
from peftbench.report.rows.field import Field
from peftbench.report.rows.metric import ACCURACY
from peftbench.report.rows.table import Row, Table, Task

MEAN = "(mean)"
"""Stands for the task's name in a line that is the mean over all tasks of a table."""


def to_json(document: Document) -> dict[str, Any]:
    """Return the report as one JSON object: `schema.ReportFields`."""
    tables = [
        {
            "title": table.title,
            "metric": of_metric(table.metric),
            "tasks": [_task(task) for task in table.tasks],
            "rows": [_row(row) for row in table.rows],
            **({"money": money_text.rows_to_json(priced)} if priced else {}),
        }
        for table, priced in zip_longest(document.tables, document.money)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "tables": tables,
        "findings": list(document.findings),
        "conventions": list(document.conventions),
    }


def to_csv(document: Document) -> str:
    """Write one line per table row and task, and one for the mean where a table has several tasks.

    What a table says of its metric has columns of that metric's name, so that none holds two metrics.
    """
    return csv_of([line for table in document.tables for row in table.rows for line in lines_of(table, row)])


def csv_of(lines: Sequence[dict[str, Any]]) -> str:
    """Write lines by the names of their columns; what a line does not have is empty."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(name for line in lines for name in line)), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escape.csv(value) for name, value in line.items()} for line in lines)
    return file.getvalue()


def of_metric(metric: Scale) -> dict[str, Any]:
    """Return what tells how scores are to be read: `schema.MetricFields`."""
    return {name: getattr(metric, name) for name in ("name", "title", "unit", "higher_is_better")}


def of_crossing(crossing: Crossing) -> dict[str, Any]:
    """Return where two learning curves cross: `schema.CrossingFields`."""
    low, high = crossing.interval or (None, None)
    return {
        "tuned": crossing.tuned.title,
        "prompted": crossing.prompted.title,
        "num_examples": list(crossing.counts),
        "leads": list(crossing.leads),
        "ahead_from": _finite(crossing.place),
        "interval": None if crossing.interval is None else [_finite(low), _finite(high)],
    }


def _finite(place: float | None) -> float | None:
    return None if place == BEYOND else place


def _task(task: Task) -> dict[str, Any]:
    return {
        "name": task.name,
        "chance": task.chance,
        "num_examples": task.num_examples,
        "sha256": task.sha256,
        "is_mixture": task.is_mixture,
    }


def _row(row: Row) -> dict[str, Any]:
    over_tasks = {field.name: field.value(row) for field in fields.of_metric(row.metric) if field.type}
    tasks = [
        {field.name: field.value(task, spread) for field in fields.on_task(row.metric) if field.type}
        for task, spread in row.spreads.items()
    ]
    return over_tasks | {"tasks": tasks, "costs": [cost.model_dump() for cost in row.costs.values()]}


def lines_of(table: Table, row: Row) -> list[dict[str, Any]]:
    """Make the lines of a row: of each task, and of the mean where there are several."""
    on_tasks = [_on_task(row, task, has_costs=len(table.tasks) == 1) for task in row.spreads]
    lines = [_line(row.metric, partial(_over_tasks, row), MEAN), *on_tasks] if len(table.tasks) > 1 else on_tasks
    return [{_column(name, table.metric): value for name, value in line.items()} for line in lines]


def _column(name: str, metric: Scale) -> str:
    """Name the column of a field, or of an interval's end."""
    if name == "chance":
        return name if metric.name == ACCURACY else f"{metric.name}_chance"
    return re.sub("^score_", f"{metric.name}_", name)


def _over_tasks(row: Row, field: Field) -> Any:
    return row.costs.get(field.name) if field.is_cost else field.value(row)


def _on_task(row: Row, task: Task, *, has_costs: bool) -> dict[str, Any]:
    """Make the line of one task; costs are means over the tasks, so that it has them only if it is the only one."""
    values = {field.name: field.value(task, row.spreads[task]) for field in fields.on_task(row.metric)}

    def value(field: Field) -> Any:
        if field.is_cost and not has_costs:
            return None
        return values[field.name] if field.name in values else _over_tasks(row, field)

    return _line(row.metric, value, task.name)


def _line(metric: Scale, value: Callable[[Field], Any], task: str) -> dict[str, Any]:
    """Order a line's cells: what says which row it is, the task, what differs by task, and the costs."""
    by_task, of_row = {field.name for field in fields.on_task(metric)}, fields.of_metric(metric)
    plain = [field for field in of_row if field.type and not field.is_interval]
    cells = {field.name: value(field) for field in plain if field.name not in by_task} | {"task": task}
    cells |= {field.name: value(field) for field in plain if field.name in by_task}
    for field in of_row:
        if field.is_interval:
            low, high = value(field) or (None, None)
            cells |= {f"{field.name}_low": low, f"{field.name}_high": high}
    for field in of_row:
        if field.is_cost:
            cost = value(field)
            cells |= {field.name: cost and cost.value, f"{field.name}_kind": cost and cost.kind}
    return cells
