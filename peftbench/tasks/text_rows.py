"""Rows of a task whose answers are written: each has a reference at least, and each template renders it."""

from collections.abc import Sequence
from dataclasses import replace

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.tasks import references
from peftbench.tasks.faults import listed, refuse
from peftbench.tasks.rows import Fields
from peftbench.tasks.task import Row
from peftbench.tasks.template import Template
from peftbench.tasks.text_template import TextTemplate

# Labels are checked in all rows, wordings in this many of each file: a template on a million rows takes minutes.
NUM_CHECKED_ROWS = 1000


def checked(
    templates: Sequence[Template], source: str, table: Sequence[Fields], *, leaves_out: bool
) -> tuple[Row, ...]:
    """Check rows and number them.

    Args:
        templates: The task's; the references are where the first one has them.
        source: Where the rows come from, in words.
        table: The rows.
        leaves_out: Whether rows without a reference are left out, where others have one, or refused.

    Raises:
        TaskError: All faults: columns that are not there, rows without a reference, templates that do not fit.
    """
    first = templates[0]
    assert isinstance(first, TextTemplate)
    rows = [Row(number, fields, 0) for number, fields in enumerate(table)]
    try:
        missing = {row.id for row in rows if not references.present(first.references_of(row))}
    except TaskError as fault:
        refuse(source, [TaskError(fault.message, hint=f"{fault.hint}; columns: {listed(list(table[0]))}")])
    faults = []
    if missing and (not leaves_out or len(missing) == len(rows)):
        shown = listed([str(number + 1) for number in sorted(missing)])
        message = f"{len(missing):,} of {len(rows):,} rows have no reference: {shown}"
        faults.append(TaskError(message, hint="rows without one are left out of the file, or get one"))
    present = tuple(row for row in rows if row.id not in missing)
    faults += rendering_faults(templates, present)
    refuse(source, faults)
    return tuple(replace(row, id=number) for number, row in enumerate(present)) if leaves_out else present


def rendering_faults(templates: Sequence[Template], rows: Sequence[Row]) -> list[TaskError]:
    """List the first fault of each template among the first rows."""
    faults = []
    for template in templates:
        try:
            for row in rows[:NUM_CHECKED_ROWS]:
                if template.reads(row):
                    template.render(row)
        except TaskError as fault:
            faults.append(fault)
    return faults


def value_of_nothing(metric: str) -> float:
    """Return a metric's value where every answer is empty: what is to be beaten, as chance is where answers are chosen.

    It is 0 where higher is better; of edits for each token of a reference, the only one of the others, it is 1.

    Returns:
        The value in hundredths of what tables show, as `store.record.TemplateResult.value`.
    """
    scale = registry.text_metric(metric)
    return 0.0 if scale.higher_is_better else scale.scale / 100
