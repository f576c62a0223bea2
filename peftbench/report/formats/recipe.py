"""Rows -> the recipe that runs them again, with every setting as it was resolved."""

import itertools
import json
from collections.abc import Iterator, Sequence

from peftbench.report.rows import setting
from peftbench.report.rows.table import Row, Table
from peftbench.store.record import Record

NAME = "report"
PLAIN = (
    "learner", "model", "revision", "shots", "method", "source_task", "templates", "limit", "draw", "folds", "group",
    "dtype", "load",
)  # fmt: skip
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
    return "\n\n".join([f"name = {setting.toml(NAME)}\ndescription = {setting.toml(description)}", *runs]) + "\n"


def _runs(row: Row) -> Iterator[str]:
    """Write a [[run]] for the tasks of a row that have the same seeds, orders of the shots and limit."""
    groups: dict[str, list[Sequence[Record]]] = {}
    for spread in row.spreads.values():
        for records in _in_orders(spread.records):
            shared = [[(record.seed, setting.order(record)) for record in records], records[0].identity.get("limit")]
            groups.setdefault(json.dumps(shared), []).append(records)
    for by_task in groups.values():
        yield _run(by_task[0], [records[0].task.name for records in by_task])


def _in_orders(records: Sequence[Record]) -> list[list[Record]]:
    """Leave records together where all seeds have the orders 0 ... n - 1, as a run has them; else part them."""
    in_order = sorted(records, key=lambda record: (setting.order(record), record.seed))
    by_order = [list(group) for _, group in itertools.groupby(in_order, key=setting.order)]
    are_first = [setting.order(group[0]) for group in by_order] == list(range(len(by_order)))
    are_alike = len({tuple(record.seed for record in group) for group in by_order}) == 1
    return [in_order] if are_first and are_alike else by_order


def _run(records: Sequence[Record], tasks: Sequence[str]) -> str:
    first, identity = records[0], records[0].identity
    num_orders = len({setting.order(record) for record in records})
    plain = {name: identity.get(name) for name in PLAIN} | {"orders": num_orders if num_orders > 1 else None}
    plain |= {"task": list(tasks), "seeds": list(dict.fromkeys(record.seed for record in records))}
    if first.learned.start_from:
        plain["start_from"] = first.learned.start_from.path
    if first.learned.sweep:
        plain["sweep"] = "lr"  # around the rate that `training` has
    lines = ["[[run]]", *setting.assignments(plain)]
    tables = {"set": setting.method_config(first)} | {name: identity.get(name) for name in TABLES}
    tables["icl"] = setting.icl(first)
    if first.learned.method:
        tables.pop("icl")
    for name, table in tables.items():
        if table:
            lines += [f"[run.{name}]", *setting.assignments(table)]
    return "\n".join(lines)
