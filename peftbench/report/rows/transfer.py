"""What is tuned on one task and answers others, held against full fine-tuning on the same task.

Paper: 2104.08691, section 5 and table 1 (prompt tuning keeps more than full fine-tuning where the domain shifts).
"""

from collections.abc import Sequence

from peftbench import registry
from peftbench.report.rows import units
from peftbench.report.rows.field import Field, Heading
from peftbench.report.rows.table import Row, Task

FULL = "full"
"""The method that trains all parameters."""


def source(row: Row) -> str | None:
    """Return the task that a row was tuned on; None where it is that which it answers, or nothing was tuned."""
    return next((str(part.value) for part in row.settings if part.path == ("source_task",)), None)


def against_full(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Find for each row that was tuned on another task the one row of full fine-tuning on it, by model and shots.

    Returns:
        Pairs of a row and that of full fine-tuning, without rows for which there is none or several.
    """
    tuned = [row for row in rows if source(row) is not None]
    full: dict[tuple[object, ...], list[Row]] = {}
    for row in tuned:
        if row.method == FULL:
            full.setdefault(_alike(row), []).append(row)
    pairs = [(row, full.get(_alike(row), [])) for row in tuned if row.method != FULL]
    return [(row, peers[0]) for row, peers in pairs if len(peers) == 1]


def differences(tasks: Sequence[Task], pairs: Sequence[tuple[Row, Row]]) -> list[Field]:
    """Show for each task how many points a row is ahead of full fine-tuning."""
    return [_difference(task, pairs) for task in tasks]


def _difference(task: Task, pairs: Sequence[tuple[Row, Row]]) -> Field:
    metric = registry.scale(task.metric)

    def value(row: Row) -> float:
        peer = next(peer for other, peer in pairs if other is row)
        return row.spreads[task].median - peer.spreads[task].median

    return Field(
        f"{task.name}_minus_{FULL}",
        value=value,
        title=f"{task.name} - {FULL}",
        unit=metric.difference_unit,
        hint=f"n {task.num_examples:,}",
        text=lambda row: units.points(value(row), metric.decimals),
        heading=Heading((task.name, f"minus {FULL},", metric.difference_unit)),
    )


def _alike(row: Row) -> tuple[object, ...]:
    return source(row), row.model, row.shots
