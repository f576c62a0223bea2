"""What a cell of PET learns from, and how; faults that need no model show here."""

import copy
from collections.abc import Sequence
from typing import Any

from peftbench import registry
from peftbench.errors import MethodError, TaskError
from peftbench.learners import pet
from peftbench.learners.tune import Tuning
from peftbench.spec.cell import Cell, Training
from peftbench.spec.settings import checked
from peftbench.tasks.shots import others
from peftbench.tasks.task import Row, Task
from peftbench.tasks.template import Template


def as_one(patterns: Sequence[Template]) -> Template:
    """Name the first template for all: what is answered is a row, whatever the template that it comes in."""
    first = copy.copy(patterns[0])
    first.name = f"{len(patterns)} patterns" if len(patterns) > 1 else first.name
    return first


def learner(cell: Cell, task: Task, patterns: tuple[Template, ...], shots: tuple[Row, ...]) -> pet.Pet:
    """Plan PET.

    Args:
        cell: What is asked for.
        task: Its training rows that are no shots are unlabelled, for a student.
        patterns: The templates.
        shots: Each is rendered by all of them.

    Raises:
        MethodError: Settings that neither it nor the method that trains has, or options that are of one training.
        TaskError: Several tasks are one, a pattern makes nothing of a shot, or no row is left for a student.
    """
    _check(cell, patterns)
    own = {name: value for name, value in cell.method_config.items() if name in pet.Config.model_fields}
    rest = {name: value for name, value in cell.method_config.items() if name not in own}
    config = checked(pet.Config, own, f"method '{cell.method}'", MethodError)
    tuning = _tuning(cell, config.method, rest, patterns, shots)
    unlabelled = others(task, shots, cell.seed, config.num_unlabelled) if config.distil else ()
    if config.distil and not unlabelled:
        message = f"distil = true learns from training rows that are no shots, and all {len(task.train)} are shots"
        raise TaskError(message, hint="fewer --shots, more rows with --train (their labels are not read), or no distil")
    return pet.Pet(config, tuning, patterns, unlabelled)


def _check(cell: Cell, patterns: Sequence[Template]) -> None:
    """Refuse what is of one training, or of one adapter, and several tasks."""
    faults = {
        "--transfer-to takes one tuned model to other tasks, and it trains several": cell.source_task is not None,
        "--start-from goes on from one adapter, and it trains several": cell.start_from is not None,
        "--sweep chooses the rate of one training, and it trains several": cell.sweep is not None,
        "--answer head has no mask, and it fills masks": cell.scoring.answer == "head",
    }
    if any(faults.values()):
        message = "; ".join(text for text, is_so in faults.items() if is_so)
        raise MethodError(f"--method {cell.method}: {message}", hint="leave out what goes with other methods")
    if any(pattern.task is not None for pattern in patterns):
        message = f"{cell.method} averages over the templates of one task, and --task is a mixture of several"
        raise TaskError(message, hint="one task, or another group")


def _tuning(
    cell: Cell, method: str, settings: dict[str, Any], patterns: Sequence[Template], shots: Sequence[Row]
) -> Tuning:
    """Plan how each model is trained."""
    registry.known(method, registry.METHODS, "method", MethodError)
    schema = registry.method(method).Config
    for key in settings:
        names = (*pet.Config.model_fields, *schema.model_fields, *Training.model_fields)
        registry.known(key, names, f"setting of {cell.method} with {method}", MethodError)
    rendered = [pet.render(pattern, shots) for pattern in patterns]
    return Tuning(
        method=method,
        config=checked(schema, settings, f"method '{method}'", MethodError),
        training=checked(Training, pet.LOSSES | cell.training, "training", MethodError),
        examples=[list(of_shot) for of_shot in zip(*rendered, strict=True)],
        seed=cell.seed,
    )
