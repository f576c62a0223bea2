"""Faults of one file, told as one error."""

from collections.abc import Sequence

from peftbench.errors import TaskError

NUM_SHOWN = 3
"""A task of six templates says six times that a column is not there."""


def refuse(source: str, faults: Sequence[TaskError]) -> None:
    """Raise the faults of one file as one error, with the first hint; nothing where there are none."""
    if faults:
        hints = [fault.hint for fault in faults if fault.hint]
        messages = [fault.message for fault in faults[:NUM_SHOWN]]
        if len(faults) > NUM_SHOWN:
            messages.append(f"and {len(faults) - NUM_SHOWN} faults like these")
        raise TaskError(f"{source}: {'; '.join(messages)}", hint=next(iter(hints), None))
