"""A task's templates: those that fit. Of others' files one that does not is left out with its reason, not refused."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from peftbench.errors import TaskError
from peftbench.tasks.faults import refuse
from peftbench.tasks.schema import TaskFile
from peftbench.tasks.task import Row
from peftbench.tasks.template import Template
from peftbench.tasks.wording import template_of

NUM_SHOWN = 3
"""Reasons in a remark."""
LeftOut = Mapping[int, str]
"""Number of a template that cannot be used -> why."""


def build(file: TaskFile) -> tuple[tuple[Template, ...], LeftOut]:
    """Build a task's templates.

    Returns:
        Those that can be used, and the others where the file lets them be left out.

    Raises:
        TaskError: All faults, where the file does not, or where none is left.
    """
    templates, faults = [], []
    for index, wording in enumerate(file.templates):
        try:
            template = template_of(wording, index, file.label.field, file.label.names or (), file.columns)
        except TaskError as error:
            faults.append((index, error))
            continue
        faults += [(index, error) for error in _faults(file, template)]
        templates.append(template)
    left_out = {index: error.message for index, error in faults}
    usable = tuple(template for template in templates if template.index not in left_out)
    if not file.drops_templates or not usable:
        refuse(f"task '{file.name}'", [error for _, error in faults])
    return usable, left_out


def fitting(
    file: TaskFile, templates: Sequence[Template], left_out: LeftOut, rows: Sequence[Row]
) -> tuple[tuple[Template, ...], LeftOut]:
    """Leave out the templates that do not fit rows.

    Args:
        file: The task.
        templates: Those that can be used otherwise.
        left_out: Those that cannot.
        rows: Their labels do not count, their labels' column does.

    Raises:
        TaskError: None fits.
    """
    if not file.drops_templates:
        return tuple(templates), left_out
    faults = {template.index: fault(template, rows) for template in templates}
    reasons = {index: error for index, error in faults.items() if error}
    if len(reasons) == len(faults):
        refuse(f"task '{file.name}'", list(reasons.values()))
    left_out = {**left_out, **{index: error.message for index, error in reasons.items()}}
    return tuple(template for template in templates if template.index not in left_out), dict(sorted(left_out.items()))


def fault(template: Template, rows: Sequence[Row]) -> TaskError | None:
    """Return why a template does not fit rows; None where it does.

    Rows whose label means no class are passed over here: labels have an error of their own.
    """
    try:
        read = [row for row in rows if template.reads(row)]
        for row in read:
            label = template.label_of(row)
            if label is not None:
                template.render(replace(row, label=label))
    except TaskError as error:
        return error
    return None if read else TaskError(f"template '{template.name}' makes nothing of any of {len(rows)} rows")


def remark(file: TaskFile, left_out: LeftOut) -> str | None:
    """Say what of a task's file is not used, and why; None where all is."""
    texts = [file.remark] if file.remark else []
    if left_out:
        shown = "; ".join(f"{number}: {reason}" for number, reason in list(left_out.items())[:NUM_SHOWN])
        more = f"; and {len(left_out) - NUM_SHOWN} more" if len(left_out) > NUM_SHOWN else ""
        texts.append(f"{len(left_out)} of {len(file.templates)} templates cannot be used: {shown}{more}")
    return f"{file.name}: {'; '.join(texts)}" if texts else None


def _faults(file: TaskFile, template: Template) -> list[TaskError]:
    """List where a template that compiles does not fit its task."""
    faults = []
    if not template.reads_rows:
        message = f"template '{template.name}' names no column before the answer: all rows would read the same"
        faults.append(TaskError(message, hint="for example {{text}}, by the column's name"))
    num_classes, fixed = len(file.label.names or ()), template.fixed_choices
    if num_classes and fixed and len(fixed) != num_classes:
        message = f"template '{template.name}' has {len(fixed)} choices for {num_classes} classes"
        faults.append(TaskError(message, hint="one choice for each of the label's names, in their order"))
    return faults
