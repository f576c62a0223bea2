"""A mixture: the rows of several tasks as those of one, each row under the templates of its own task.

One adapter tuned on a mixture is one to start from on other tasks, as T-Few's pre-trained (IA)^3 (2205.05638, section
3.4). Rows stand in turn, one of each task, so that a limit takes as many of each.
"""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import replace

from peftbench.tasks.task import Row, Task, fingerprint
from peftbench.tasks.template import Template


def mix(name: str, tasks: Sequence[Task]) -> Task:
    """Make one task of several; rows and templates are numbered anew.

    Args:
        name: The mixture's name.
        tasks: At least one, with labels in columns of one name.
    """
    train = _in_turn([_of(task, task.train) for task in tasks])
    test = _in_turn([_of(task, task.test) for task in tasks])
    templates = [_bound(task, template) for task in tasks for template in task.templates]
    assert len({template.label for template in templates}) == 1
    for index, template in enumerate(templates):
        template.index = index
    return Task(
        name=name,
        family="mixture",
        description=", ".join(task.name for task in tasks),
        version=1,
        metric=tasks[0].metric,
        chance=sum(task.chance * len(task.test) for task in tasks) / len(test),
        templates=tuple(templates),
        train=train,
        test=test,
        sha256=fingerprint(train, test, templates),
    )


def _in_turn(columns: Sequence[Sequence[Row]]) -> tuple[Row, ...]:
    rows = (row for turn in itertools.zip_longest(*columns) for row in turn if row is not None)
    return tuple(replace(row, id=number) for number, row in enumerate(rows))


def _of(task: Task, rows: Sequence[Row]) -> list[Row]:
    return [replace(row, task=task.name) for row in rows]


def _bound(task: Task, template: Template) -> Template:
    """Copy a template so that it reads the rows of its own task only."""
    bound = copy.copy(template)
    bound.task, bound.name = task.name, f"{task.name}: {template.name}"
    return bound
