"""A plan: a cell with everything resolved that needs no model, so that faults show before anything is computed."""

from dataclasses import dataclass

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.methods.base import MethodConfig
from peftbench.recipe import Cell, Training, checked
from peftbench.tasks.load import load as load_task
from peftbench.tasks.shots import draw
from peftbench.tasks.task import Row, Task
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


def plan(cell: Cell) -> Plan:
    """Load the task, draw the shots and check the method's settings: all faults that need no model show here.

    Raises:
        PeftbenchError: A fault in the task, its data, the templates, the shots, the method or its settings.
    """
    task = load_task(cell.task)
    return Plan(
        cell=cell,
        task=task,
        templates=task.select("all" if cell.templates is None else cell.templates),
        shots=draw(task, cell.shots, cell.seed),
        test=task.test[: cell.limit],
        config=None if cell.method is None else _config(cell.method, cell),
    )


def _config(method: str, cell: Cell) -> MethodConfig:
    schema = registry.method(method).Config
    for key in cell.method_config:
        registry.known(key, (*schema.model_fields, *Training.model_fields), f"setting of {method}", MethodError)
    checked(Training, cell.training, "training", MethodError)
    return checked(schema, cell.method_config, f"method '{method}'", MethodError)
