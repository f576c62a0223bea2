"""Faults of one file, told as one error."""

from collections.abc import Sequence

from peftbench.errors import TaskError

NUM_SHOWN = 3
"""A task of six templates says six times that a column is not there."""
MAX_LISTED = 8
"""Of columns, classes or rows."""


def refuse(source: str, faults: Sequence[TaskError]) -> None:
    """Raise the faults of one file as one error in one line, with the first hint; nothing where there are none."""
    if faults:
        hints = [fault.hint for fault in faults if fault.hint]
        messages = [fault.message for fault in faults[:NUM_SHOWN]]
        if len(faults) > NUM_SHOWN:
            messages.append(f"and {len(faults) - NUM_SHOWN} faults like these")
        hint = next(iter(hints), None)
        raise TaskError(_line(f"{source}: {'; '.join(messages)}"), hint=None if hint is None else _line(hint))


def _line(text: str) -> str:
    """Write a text in one line: names of columns may have more."""
    return " ".join(text.splitlines())


def listed(names: Sequence[str]) -> str:
    """List names in one line; of many the first ones and the number of the others."""
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(" ".join(name.split()) for name in names[:MAX_LISTED]) + more
