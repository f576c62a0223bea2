"""The command to type next: what a table still lacks."""

from collections.abc import Sequence
from pathlib import Path

from peftbench.errors import TaskError
from peftbench.registry import METHODS, TASK_GROUPS
from peftbench.report.rows.table import Row, Table
from peftbench.tasks import own
from peftbench.tasks.load import expand

DEFAULT_GROUP = "lab"


def same_model(table: Table) -> list[str]:
    """Name the commands that would put ICL and tuning on one model, where no model has both.

    The tuned model comes first: it takes in-context learning without training.
    """
    tuned = {row.model: row for row in table.rows if row.is_tuned}
    prompted = {row.model: row for row in table.rows if row.is_icl}
    if set(tuned) & set(prompted):
        return []
    return [_icl(table, row) for row in tuned.values()] + [_tune(table, row, "ia3") for row in prompted.values()]


def step(table: Table, adapters: Path = Path("results/adapters")) -> str:
    """Name the command that adds most to the table.

    Args:
        table: The first of a report.
        adapters: Folder of what was trained.
    """
    if table.is_mixture:
        return _start_from(table, adapters)
    missing = same_model(table)
    if missing:
        return missing[0]
    tuned = [row for row in table.rows if row.is_tuned]
    untried = [name for name in METHODS if name not in {row.method for row in tuned}]
    return _tune(table, (tuned or list(table.rows))[0], untried[0]) if untried else "peftbench list recipes"


def _start_from(table: Table, adapters: Path) -> str:
    """Go on from what was tuned on a mixture, or tune on it."""
    row = next((row for row in reversed(table.rows) if row.is_tuned), None)
    if row is None:
        return _tune(table, table.rows[0], "ia3")
    record = row.spreads[table.tasks[0]].records[0]
    return f"peftbench tune --model {row.model} --method {row.method} --start-from {adapters / record.id}"


def missing(table: Table, learner: str) -> str:
    """Name the command that learns in the way that a table lacks, on a model that it has."""
    row = max(table.rows, key=lambda row: row.num_shots)
    if learner == "tune":
        return _tune(table, row, "ia3")
    return f"peftbench icl --model {row.model} --shots {row.num_shots or 32}{_task(table)}"


def again(table: Table, row: Row) -> str:
    """Name the command that made a row."""
    settings = "".join(f" --set {part}" for part in ([part.text for part in row.settings] if row.is_tuned else []))
    return _tune(table, row, row.method) + settings if row.is_tuned else _icl(table, row)


def task_option(names: Sequence[str]) -> str:
    """Write the --task that stands for some tasks: a group's name, or the first task's; nothing for the default."""
    for group in TASK_GROUPS:
        if _members(group) == set(names):
            return "" if group == DEFAULT_GROUP else f" --task {group}"
    return f" --task {names[0]}"


def _members(group: str) -> set[str]:
    try:
        return set(expand(group))
    except TaskError:  # no task is in the group
        return set()


def _icl(table: Table, row: Row) -> str:
    return f"peftbench icl --model {row.model} --shots {row.num_shots}{_task(table)}"


def _tune(table: Table, row: Row, method: str) -> str:
    shots = f" --shots {row.num_shots}" if row.num_shots not in {0, 32} else ""
    return f"peftbench tune --model {row.model} --method {method}{shots}{_task(table)}"


def _task(table: Table) -> str:
    """Write what says which rows: of own ones, the path and the template are no part of a record."""
    names = [task.name for task in table.tasks]
    record = next((one for row in table.rows for spread in row.spreads.values() for one in spread.records), None)
    if record is None:
        return task_option(names)
    data = " --train FILE --test FILE --template TEXT --choices A,B"
    option = f" --task {names[0]}{data}" if record.task.family == own.FAMILY else task_option(names)
    limit = record.identity.get("limit")
    return option if limit is None else f"{option} --limit {limit}"
