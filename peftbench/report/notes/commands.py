"""Commands as somebody would type them, from records alone."""

import shlex
from collections.abc import Iterable, Sequence

from peftbench.registry import GROUP_TASKS
from peftbench.report.rows import options, setting
from peftbench.report.rows.setting import Setting
from peftbench.report.rows.table import Row, Table
from peftbench.store.record import Record
from peftbench.tasks import own

DEFAULT_GROUP = "lab"
DEFAULT_SHOTS = 32
OWN_DATA = ("--train", "FILE", "--test", "FILE", "--template", "TEXT", "--choices", "A,B")
"""Of one's own rows, path and template are no part of a record."""


def again(table: Table, row: Row, seeds: Sequence[int] = ()) -> list[str]:
    """List the commands that made a row: one, or one for each task where no group's name stands for all of them.

    Args:
        table: Of the row.
        row: With records.
        seeds: In place of the row's own.
    """
    first = row.records[0]
    seeds = seeds or sorted({record.seed for record in row.records})
    num_orders = 1 + max(setting.order(record) for record in row.records)
    words = _typed(options.of_record(first))
    if num_orders > 1:
        words += ["--orders", str(num_orders)]
    if list(seeds) != [0]:
        words += ["--seeds", ",".join(map(str, seeds))]
    learner = _learner(first.learned.method, row.model, row.num_shots)
    return [shlex.join([*learner, *task, *words]) for task in _tasks(table)]


def icl(table: Table, row: Row, num_shots: int) -> str:
    """Write the command that learns in context as a row did: its model, data (the first of several tasks), scoring."""
    return shlex.join([*_learner(None, row.model, num_shots), *_tasks(table)[0], *_shared(row)])


def tune(table: Table, row: Row, method: str) -> str:
    """Write the command that tunes a row's model by a method, on its data (the first of several tasks) and shots."""
    return shlex.join([*_learner(method, row.model, row.num_shots or DEFAULT_SHOTS), *_tasks(table)[0], *_shared(row)])


def transfer(record: Record, model: Record, tasks: Sequence[str]) -> str:
    """Write the command that learns as one record did, on the model of another.

    Args:
        record: Says the learner, its shots and the data.
        model: Says the model, and how it was loaded.
        tasks: Names of the tasks.
    """
    num_shots = setting.shots(record)
    words = _learner(record.learned.method, model.model.name, num_shots)
    if record.learned.method and num_shots == DEFAULT_SHOTS:
        words += ["--shots", str(num_shots)]
    of_model = ("revision", "dtype")
    settings = [part for part in options.shared(model) if part.name in of_model]
    settings += [part for part in options.shared(record) if part.name not in of_model and part.path[0] != "scoring"]
    return shlex.join([*words, *_data(tasks, record)[0], *_typed(settings)])


def start_from(row: Row, adapter: str) -> str:
    """Write the command that goes on tuning a saved adapter of a row."""
    return shlex.join(["peftbench", "tune", "--model", row.model, "--method", row.method, "--start-from", adapter])


def task_options(names: Sequence[str]) -> list[list[str]]:
    """List the words that stand for some tasks: those of a group, none for the default one; or those of each task."""
    for group, members in GROUP_TASKS.items():
        if set(members) == set(names):
            return [[] if group == DEFAULT_GROUP else ["--task", group]]
    return [["--task", name] for name in names]


def _learner(method: str | None, model: str, num_shots: int) -> list[str]:
    if method is None:
        return ["peftbench", "icl", "--model", model, "--shots", str(num_shots)]
    shots = [] if num_shots == DEFAULT_SHOTS else ["--shots", str(num_shots)]
    return ["peftbench", "tune", "--model", model, "--method", method, *shots]


def _tasks(table: Table) -> list[list[str]]:
    names = [task.name for task in table.tasks]
    records = [record for row in table.rows for record in row.records]
    return _data(names, records[0]) if records else task_options(names)


def _data(names: Sequence[str], record: Record) -> list[list[str]]:
    """List the words that stand for some tasks; of one's own rows, with what has to be filled in."""
    is_own = record.task.family == own.FAMILY
    return [["--task", name, *OWN_DATA] for name in names] if is_own else task_options(names)


def _shared(row: Row) -> list[str]:
    return _typed(options.shared(row.records[0])) if row.records else []


def _typed(settings: Iterable[Setting]) -> list[str]:
    return [word for part in settings for word in part.words]
