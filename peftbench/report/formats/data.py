"""Tables as data: JSON and CSV. Accuracies are shares from 0 to 1, FLOPs and bytes plain numbers, absent ones empty."""

import csv
import io
from typing import Any

from peftbench.report.formats.schema import SCHEMA_VERSION
from peftbench.report.notes.document import Document
from peftbench.report.rows.table import COLUMNS, Interval, Row, Spread, Table, Task

MEAN = "(mean)"
"""Stands for the task's name in a line that is the mean over all tasks of a table."""


def to_json(document: Document) -> dict[str, Any]:
    """Give the report as one JSON object: `schema.ReportFields`."""
    tables = [
        {
            "title": table.title,
            "tasks": [vars(task) for task in table.tasks],
            "rows": [_row(row) for row in table.rows],
        }
        for table in document.tables
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "tables": tables,
        "findings": list(document.findings),
        "conventions": list(document.conventions),
    }


def to_csv(document: Document) -> str:
    """Write one line per table row and task, and one for the mean where a table has several tasks."""
    file = io.StringIO()
    lines = [line for table in document.tables for row in table.rows for line in _lines(table, row)]
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _row(row: Row) -> dict[str, Any]:
    spreads = [
        {
            "task": task.name,
            "accuracy_median": spread.median,
            "accuracy_iqr": spread.iqr,
            "accuracy_interval": _both(spread.interval),
            "why_no_interval": spread.why_no_interval,
            "num_seeds": spread.num_seeds or None,
            "num_orders": spread.num_orders if spread.records else None,
            "num_templates": spread.num_templates or None,
            "records": [record.id for record in spread.records],
        }
        for task, spread in row.spreads.items()
    ]
    costs = [cost.model_dump() for cost in row.costs.values()]
    interval = {"accuracy_interval": _both(row.interval)}
    return _facts(row) | _mean(row) | interval | {"tasks": spreads, "costs": costs}


def _lines(table: Table, row: Row) -> list[dict[str, Any]]:
    tasks = [_line(row, task, spread) for task, spread in row.spreads.items()]
    if len(table.tasks) == 1:
        return tasks
    mean = _facts(row) | {"task": MEAN} | _mean(row) | _ends(row.interval) | _costs(row)
    return [mean, *tasks]


def _line(row: Row, task: Task, spread: Spread) -> dict[str, Any]:
    accuracy = {
        "accuracy_median": _rounded(spread.median),
        "accuracy_iqr": _rounded(spread.iqr),
        "num_examples": task.num_examples,
        "num_seeds": spread.num_seeds or None,
        "num_orders": spread.num_orders if spread.records else None,
        "num_templates": spread.num_templates or None,
        "chance": task.chance,
    }
    # Costs are means over the tasks of the row: they stand in the line of the mean, or where there is one task.
    costs = dict.fromkeys(_costs(row)) if len(row.spreads) > 1 else _costs(row)
    return _facts(row) | {"task": task.name} | accuracy | _ends(spread.interval) | costs


def _facts(row: Row) -> dict[str, Any]:
    return {
        "method": row.method,
        "variant": row.variant,
        "model": row.model,
        "shots": row.shots,
        "source": "published" if row.published else "records",
        "num_parameters": row.num_parameters,
        "num_trained_parameters": row.num_trained_parameters,
        "num_saved_parameters": row.num_saved_parameters,
        "num_unreached_parameters": row.num_unreached_parameters,
    }


def _mean(row: Row) -> dict[str, Any]:
    return {
        "accuracy_median": _rounded(row.accuracy),
        "accuracy_iqr": _rounded(row.iqr),
        "num_examples": row.num_examples,
        "num_seeds": row.num_seeds or None,
        "num_orders": None if row.published else row.num_orders,
        "num_templates": row.num_templates or None,
        "chance": _rounded(row.chance),
    }


def _costs(row: Row) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name in COLUMNS:
        cost = row.costs.get(name)
        columns[name] = cost and cost.value
        columns[f"{name}_kind"] = cost and cost.kind
    return columns


def _both(interval: Interval | None) -> list[float | None] | None:
    return interval and [_rounded(end) for end in interval]


def _ends(interval: Interval | None) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {"accuracy_interval_low": _rounded(low), "accuracy_interval_high": _rounded(high)}


def _rounded(value: float | None) -> float | None:
    """Drop the last binary digits, so that equal records give equal files."""
    return value if value is None else round(value, 10)
