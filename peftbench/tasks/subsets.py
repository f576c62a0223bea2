"""Subsets of the test rows, by a column: the metric of each stands beside that of all rows."""

from collections.abc import Sequence

from peftbench.errors import TaskError
from peftbench.tasks.faults import listed, refuse
from peftbench.tasks.schema import Subsets
from peftbench.tasks.task import Row


def of(subsets: Subsets | None, rows: Sequence[Row], source: str) -> dict[str, tuple[int, ...]]:
    """Sort test rows into the subsets that a task's file names.

    Args:
        subsets: The column, and a name for each of its values; None for no subsets.
        rows: The test rows.
        source: Where they come from, in words.

    Returns:
        Name -> `Row.id` of its rows; nothing where no row has the column.

    Raises:
        TaskError: Some rows lack the column, or have a value there without a name.
    """
    if subsets is None or all(subsets.column not in row.fields for row in rows):
        return {}
    values = [_written(row.fields.get(subsets.column)) for row in rows]
    if unknown := [number for number, value in enumerate(values) if value not in subsets.names]:
        message = (
            f"column '{subsets.column}' of {len(unknown):,} rows names no subset, the first in row {unknown[0] + 1}"
        )
        refuse(source, [TaskError(message, hint=f"it holds one of {listed(list(subsets.names))}")])
    ids = {
        name: [row.id for row, value in zip(rows, values, strict=True) if subsets.names[value] == name]
        for name in subsets.names.values()
    }
    return {name: tuple(of_name) for name, of_name in ids.items() if of_name}


def _written(value: object) -> str:
    """Write a value as the task's file does: true, not True."""
    return str(value).lower() if isinstance(value, bool) else str(value)
