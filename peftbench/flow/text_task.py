"""What a cell of a task whose answers are written can ask for, and how its answers are trained and written."""

from typing import Any

from peftbench import registry
from peftbench.errors import ModelError, TaskError
from peftbench.models.backbone import Backbone
from peftbench.spec.cell import Cell, ScoringOptions
from peftbench.spec.decoding import Decoding
from peftbench.tasks.task import Task

MAX_NEW_TOKENS = 256
"""Of an answer, where the task leaves it to the model's end token."""
OF_CHOICES = {"unlikelihood_loss": 0.0, "length_norm_loss": 0.0}
"""Losses over answer choices, which such a task does not have."""


def check(cell: Cell, task: Task, source: Task) -> None:
    """Refuse what goes with answer choices alone, all of it at once.

    Raises:
        TaskError: The cell asks for it; or the task that is learned from has choices, or the one that is asked.
        PeftbenchError: What the metric counts with is not installed.
    """
    if task.is_text != source.is_text:
        message = f"answers of '{task.name}' and of '{source.name}' are not of one kind: written, and chosen"
        raise TaskError(message, hint="two tasks of one kind")
    faults = [text for text, is_so in (_faults(cell) | _faults_of_training(cell)).items() if is_so]
    metric = registry.text_metric(task.metric)
    if metric.needs_all is not None and (cell.fold is not None or (cell.limit or len(task.test)) < len(task.test)):
        faults.append(f"metric '{metric.name}' is of all {len(task.test):,} test rows: {metric.needs_all}")
    if faults:
        message = f"task '{task.name}' has answers that are written: {'; '.join(faults)}"
        raise TaskError(message, hint="leave out what goes with answer choices, or take a task that has them")
    metric.require()


def _faults(cell: Cell) -> dict[str, bool]:
    """List what is of answer choices, and whether a cell asks for it."""
    options = cell.icl
    return {
        "--calibrate divides the probabilities of choices": options.calibrate,
        f"--labels {options.labels} shows other choices": options.labels != "gold",
        f"--ensemble {options.ensemble} joins what prompts say of choices": options.ensemble != "none",
        "--attention block is of prompts whose choices are scored": options.attention == "block",
        f"--select {options.select} chooses shots for choices": options.is_chosen,
        "--draw balanced takes rows of each choice": cell.draw == "balanced",
        "--sweep chooses by the choices that are right": cell.sweep is not None,
        f"--method {cell.method} chooses a class": registry.is_classifier(cell.method)
        or registry.is_ensemble(cell.method),
        "--answer and --no-pll say how choices are scored": cell.scoring.answer is not None or not cell.scoring.pll,
        "a server scores choices": cell.server is not None,
    }


def _faults_of_training(cell: Cell) -> dict[str, bool]:
    return {
        f"{name} compares the right choice with wrong ones": bool(cell.training.get(name)) for name in OF_CHOICES
    } | {"lm_loss = 0 leaves nothing to learn from": cell.training.get("lm_loss") == 0}


def training(cell: Cell, task: Task) -> dict[str, Any]:
    """Return a cell's training settings, without the losses over answer choices where the task has none."""
    return cell.training | OF_CHOICES if task.is_text else cell.training


def decoding(task: Task, backbone: Backbone) -> Decoding | None:
    """Resolve how a task's answers are written by a model; None where they are chosen.

    Raises:
        ModelError: The task does not say how long an answer may be, and the model does not say where one ends.
    """
    if task.writing is None:
        return None
    if task.writing.max_new_tokens is None and backbone.tokenizer.eos_token_id is None:
        message = f"'{backbone.name}' has no end token, and task '{task.name}' does not say how long an answer may be"
        raise ModelError(message, hint="[writing] max_new_tokens = 64 in the task's TOML")
    most = task.writing.max_new_tokens or MAX_NEW_TOKENS
    return Decoding.model_validate(task.writing.model_dump() | {"max_new_tokens": most})


def scoring(cell: Cell, task: Task, backbone: Backbone) -> ScoringOptions:
    """Let tuning learn where a written answer ends: by the model's end token, or by the separator where it has none."""
    options = cell.scoring
    if not task.is_text or cell.learner != "tune" or options.end is not None:
        return options
    end = "separator" if backbone.tokenizer.eos_token_id is None else "eos"
    return options.model_copy(update={"end": end})
