"""Rows -> the recipe that runs them again, with every setting as it was resolved."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peftbench.record import Record
from peftbench.report.table import Row, Table

NAME = "report"
PLAIN = ("learner", "model", "revision", "shots", "method", "templates", "limit", "draw", "dtype")
TABLES = ("training", "icl", "scoring")


def recipe(tables: Sequence[Table]) -> str:
    """Write a recipe TOML that gives the records of all rows again; "" where there are none.

    Tasks stand in it by their names: those from a file, and one's own rows, need their path in its place. Where a sweep
    chose the learning rate, the sweep stands in it, around the rate that it began with.
    """
    rows = [row for table in tables for row in table.rows if not row.published]
    runs = list(dict.fromkeys(run for row in rows for run in _runs(row)))
    if not runs:
        return ""
    description = "Every record of a report, with its settings as they were resolved"
    return "\n\n".join([f"name = {_text(NAME)}\ndescription = {_text(description)}", *runs]) + "\n"


def _runs(row: Row) -> Iterator[str]:
    """Give a [[run]] for the tasks of a row that have the same seeds and limit."""
    groups: dict[str, list[Sequence[Record]]] = {}
    for spread in row.spreads.values():
        records = sorted(spread.records, key=lambda record: record.seed)
        shared = [[record.seed for record in records], records[0].identity.get("limit")]
        groups.setdefault(json.dumps(shared), []).append(records)
    for some in groups.values():
        yield _run(some[0][0], [records[0].task.name for records in some], [record.seed for record in some[0]])


def _run(record: Record, tasks: Sequence[str], seeds: Sequence[int]) -> str:
    identity = record.identity
    plain = {name: identity.get(name) for name in PLAIN} | {"task": list(tasks), "seeds": list(dict.fromkeys(seeds))}
    if record.learned.start_from:
        plain["start_from"] = record.learned.start_from.path
    if record.learned.sweep:
        plain["sweep"] = "lr"  # around the rate that `training` has
    lines = ["[[run]]", *_assignments(plain)]
    tables = {"set": identity.get("method_config")} | {name: identity.get(name) for name in TABLES}
    if record.learned.method:
        tables.pop("icl")
    for name, table in tables.items():
        if table:
            lines += [f"[run.{name}]", *_assignments(table)]
    return "\n".join(lines)


def _assignments(table: Mapping[str, Any]) -> list[str]:
    """Write a table's lines; TOML has no null, so what is absent stays away."""
    return [f"{name} = {_text(value)}" for name, value in table.items() if value is not None]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(_assignments(value)) + " }"
    return json.dumps(value)
