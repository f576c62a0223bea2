"""Commands as somebody would type them, from records alone."""

import shlex
from collections.abc import Sequence

from peftbench.report.rows import options, setting
from peftbench.report.rows.options import DEFAULT_SHOTS
from peftbench.report.rows.table import Row, Table
from peftbench.store.record import Record


def again(table: Table, row: Row, seeds: Sequence[int] = ()) -> list[str]:
    """List the commands that made a row: one, or one for each task where no group's name stands for all of them.

    Args:
        table: Of the row.
        row: With records.
        seeds: In place of the row's own.
    """
    words = options.pooled(row.records, seeds or sorted({record.seed for record in row.records}))
    learner = options.learner(row.records[0].learned.method, row.model, row.num_shots)
    tasks = options.learned_data([task.name for task in table.tasks], row.records[0])
    return [shlex.join([*learner, *task, *words]) for task in tasks]


def icl(table: Table, row: Row, num_shots: int) -> str:
    """Write the command that learns in context as a row did: its model, data (the first of several tasks), scoring."""
    return shlex.join([*options.learner(None, row.model, num_shots), *_tasks(table)[0], *_shared(row)])


def tune(table: Table, row: Row, method: str) -> str:
    """Write the command that tunes a row's model by a method, on its data (the first of several tasks) and shots."""
    learner = options.learner(method, row.model, row.num_shots or DEFAULT_SHOTS)
    return shlex.join([*learner, *_tasks(table)[0], *_shared(row)])


def transfer(record: Record, model: Record, tasks: Sequence[str]) -> str:
    """Write the command that learns as one record did, on the model of another.

    Args:
        record: Says the learner, its shots and the data.
        model: Says the model, and how it was loaded.
        tasks: Names of the tasks.
    """
    num_shots = setting.shots(record)
    words = options.learner(record.learned.method, model.model.name, num_shots)
    if record.learned.method and num_shots == DEFAULT_SHOTS:
        words += ["--shots", str(num_shots)]
    of_model = ("revision", "dtype", "load")
    settings = [part for part in options.shared(model) if part.name in of_model]
    settings += [part for part in options.shared(record) if part.name not in of_model and part.path[0] != "scoring"]
    return shlex.join([*words, *options.data(tasks, record)[0], *options.typed(settings)])


def start_from(row: Row, adapter: str) -> str:
    """Write the command that goes on tuning a saved adapter of a row."""
    return shlex.join(["peftbench", "tune", "--model", row.model, "--method", row.method, "--start-from", adapter])


def _tasks(table: Table) -> list[list[str]]:
    names = [task.name for task in table.tasks]
    records = [record for row in table.rows for record in row.records]
    return options.data(names, records[0]) if records else options.task_options(names)


def _shared(row: Row) -> list[str]:
    return options.typed(options.shared(row.records[0])) if row.records else []
