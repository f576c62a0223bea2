"""Which training rows are the shots: a pure function of the task, their number and the seed."""

import hashlib

from peftbench.errors import TaskError
from peftbench.tasks.task import Row, Task


def draw(task: Task, num_shots: int, seed: int) -> tuple[Row, ...]:
    """Draw shots without replacement; k shots are the first k of k + 1 shots.

    Rows stand in the order of sha256(task, seed, row id): no random generator whose stream a new version of Python,
    or another caller, could shift.

    Raises:
        TaskError: Fewer training rows than shots.
    """
    if num_shots > len(task.train):
        raise TaskError(
            f"{num_shots} shots were asked for, and task '{task.name}' has {len(task.train)} training rows",
            hint=f"--shots {len(task.train)} or fewer, or a longer file with --train",
        )
    return tuple(sorted(task.train, key=lambda row: _rank(task.name, seed, row.id))[:num_shots])


def _rank(name: str, seed: int, row_id: int) -> bytes:
    return hashlib.sha256(f"{name}\0{seed}\0{row_id}".encode()).digest()
