"""What a leaderboard wants: a folder with a file for each task, which answers each row once, by a class's name."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.store.files import new_folder
from peftbench.tasks import rows
from peftbench.tasks.faults import listed
from peftbench.tasks.load import unlabelled
from peftbench.tasks.schema import TaskFile

Answers = Mapping[str, str]
"""Id of a row -> name of its class."""


@dataclass(frozen=True)
class Leaderboard:
    """The rules of a leaderboard.

    Args:
        name: Group of its tasks.
        file: Name of the file in each task's folder.
        id: Column of a row's id, in the rows and in the file.
        label: Column of the answer in the file.
        num_rows: Task -> number of rows that the leaderboard scores.
    """

    name: str
    file: str
    id: str
    label: str
    num_rows: Mapping[str, int]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of its tasks."""
        return registry.GROUP_TASKS[self.name]


@dataclass(frozen=True)
class OpenTask:
    """The rows of a task that are to be answered.

    Args:
        file: The task's.
        rows: As they come.
        ids: Of the rows, in their order.
    """

    file: TaskFile
    rows: Sequence[rows.Fields]
    ids: tuple[str, ...]


def read(board: Leaderboard, name: str, data: Path | None) -> OpenTask:
    """Read the rows of a task that are to be answered.

    Args:
        board: Whose task it is.
        name: The task's.
        data: Folder of tasks' rows; None for the hub's.

    Raises:
        TaskError: They cannot be read, or their ids cannot name them.
    """
    file, table = unlabelled(TaskSpec(name=name, data=data))
    lacking = [number for number, fields in enumerate(table, start=1) if not str(fields.get(board.id, "")).strip()]
    if lacking:
        message = f"row {lacking[0]} to be answered of task '{name}' has no {board.id}"
        raise TaskError(message, hint=f"rows as {board.name} has them, with their column '{board.id}'")
    ids = tuple(str(fields[board.id]).strip() for fields in table)
    twice = _repeated(ids)
    if twice:
        message = f"rows to be answered of task '{name}' have one {board.id}: {listed(twice)}"
        raise TaskError(message, hint=f"rows as {board.name} has them")
    return OpenTask(file, table, ids)


def remark(board: Leaderboard, task: OpenTask) -> str | None:
    """Say that these are not the rows that the leaderboard scores, as far as their number tells."""
    published = board.num_rows[task.file.name]
    if len(task.ids) == published:
        return None
    return (
        f"{task.file.name}: {len(task.ids):,} rows, and the leaderboard scores {published:,}: "
        "these answers are no submission; the hub has its rows"
    )


def write(board: Leaderboard, folder: Path, answers: Mapping[str, Answers], tasks: Mapping[str, OpenTask]) -> None:
    """Write a submission whole, once nothing in it is at fault.

    Args:
        board: By whose rules.
        folder: Is made.
        answers: Of each task.
        tasks: Its tasks.

    Raises:
        TaskError: A fault by the rules, or a folder that cannot be written.
    """
    faults = [fault for name in board.tasks for fault in _faults(board, tasks[name], list(answers[name].items()))]
    refuse(board, "these answers", faults)
    try:
        with new_folder(folder) as temporary:
            for name in board.tasks:
                (temporary / name).mkdir()
                with (temporary / name / board.file).open("w", encoding="utf-8", newline="") as file:
                    writer = csv.writer(file, lineterminator="\n")
                    writer.writerow([board.id, board.label])
                    writer.writerows((id, answers[name][id]) for id in tasks[name].ids)
    except OSError as error:
        raise TaskError(f"cannot write '{folder}': {error.strerror}", hint="OUT is a new folder") from None


def check(board: Leaderboard, folder: Path, tasks: Mapping[str, OpenTask]) -> None:
    """Check a folder by the rules of a leaderboard.

    Raises:
        TaskError: All faults: a task's file missing or unreadable, other columns, rows that are answered twice or not
            at all, ids of no row, and answers that are no class of the task.
    """
    if not folder.is_dir():
        raise TaskError(f"'{folder}' is no folder", hint="OUT is what `peftbench submit` wrote")
    faults = []
    for name in board.tasks:
        path = folder / name / board.file
        try:
            table = rows.read(path)
        except TaskError as fault:
            faults.append(f"{name}: {fault.message}")
            continue
        columns = list(table[0])
        if columns != [board.id, board.label]:
            faults.append(f"{name}: columns {listed(columns)}, and they are {board.id}, {board.label}")
            continue
        faults += _faults(board, tasks[name], [(fields[board.id], fields[board.label]) for fields in table])
    refuse(board, f"'{folder}'", faults)


def refuse(board: Leaderboard, what: str, faults: Sequence[str]) -> None:
    """Raise all faults as one error; nothing where there are none."""
    if faults:
        hint = f"{board.file} of each task has the columns {board.id}, {board.label}, and each row once, by class name"
        raise TaskError(f"{what} cannot be submitted to {board.name}: {'; '.join(faults)}", hint=hint)


def _faults(board: Leaderboard, task: OpenTask, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """List what is wrong with the answers to a task's rows, as (id, class) in their order."""
    ids = [id for id, _ in pairs]
    known, names = set(task.ids), set(task.file.label.names or ())
    parts = {
        f"no answer to {board.id}": [id for id in task.ids if id not in set(ids)],
        f"several answers to {board.id}": _repeated(ids),
        f"no row has {board.id}": sorted(set(ids) - known),
        "no class of it is": sorted({repr(label) for _, label in pairs if label not in names}),
    }
    return [f"{task.file.name}: {text} {listed(values)}" for text, values in parts.items() if values]


def _repeated(ids: Sequence[str]) -> list[str]:
    return [id for id, number in Counter(ids).items() if number > 1]
