"""A plan: a cell with everything resolved that needs no model, so that faults show before anything is computed."""

from collections import Counter
from dataclasses import dataclass

from peftbench import registry
from peftbench.adapters import saved
from peftbench.adapters.peft import read
from peftbench.errors import MethodError, TaskError
from peftbench.methods.base import MethodConfig
from peftbench.spec.cell import Cell, Training
from peftbench.spec.settings import checked
from peftbench.tasks.load import load as load_task
from peftbench.tasks.shots import draw
from peftbench.tasks.task import Example, Row, Task
from peftbench.tasks.template import Template


@dataclass(frozen=True)
class Plan:
    """A cell with everything resolved that needs no model."""

    cell: Cell
    task: Task
    templates: tuple[Template, ...]
    shots: tuple[Row, ...]
    test: tuple[Row, ...]
    config: MethodConfig | None
    start: saved.Start | None = None

    @property
    def queries(self) -> list[list[Example]]:
        """The test rows, as each template renders them."""
        return [[template.render(row) for row in self.test if template.reads(row)] for template in self.templates]

    @property
    def examples(self) -> list[list[Example]]:
        """The shots, each rendered by each template."""
        return [[template.render(row) for template in self.templates if template.reads(row)] for row in self.shots]


def plan(cell: Cell) -> Plan:
    """Load the task, draw the shots and check the method's settings: all faults that need no model show here.

    Raises:
        PeftbenchError: A fault in the task, its data, the templates, the shots, the method or its settings.
    """
    task = load_task(cell.task)
    _check_limit(task, cell.limit)
    start = None if cell.start_from is None else saved.starting_point(cell.start_from, lambda: _base(cell))
    return Plan(
        cell=cell,
        task=task,
        templates=task.select("all" if cell.templates is None else cell.templates),
        shots=draw(task, cell.shots, cell.seed, cell.draw),
        test=task.test[: cell.limit],
        config=None if cell.method is None else _config(cell.method, cell, start),
        start=start,
    )


def _base(cell: Cell) -> read.Base:
    return read.describe(cell.model, cell.revision, cell.allow_pickle)


def _check_limit(task: Task, limit: int | None) -> None:
    """Refuse a limit that takes more rows of some tasks of a mixture than of others, or none of some."""
    tasks = {row.task for row in task.test}
    taken = Counter(row.task for row in task.test[:limit])
    if limit is not None and len({taken[name] for name in tasks}) > 1:
        message = (
            f"--limit {limit} takes more test rows of some of the {len(tasks)} tasks of '{task.name}' than of others"
        )
        raise TaskError(message, hint=f"a multiple of {len(tasks)}")


def _config(method: str, cell: Cell, start: saved.Start | None) -> MethodConfig:
    schema = registry.method(method).Config
    for key in cell.method_config:
        registry.known(key, (*schema.model_fields, *Training.model_fields), f"setting of {method}", MethodError)
    checked(Training, cell.training, "training", MethodError)
    settings = cell.method_config if start is None else start.settings(method, cell.method_config)
    return checked(schema, settings, f"method '{method}'", MethodError)
