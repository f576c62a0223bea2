"""The command to type next: what a table still lacks."""

from pathlib import Path

from peftbench.registry import CLASSIFIERS, METHODS
from peftbench.report.notes import commands
from peftbench.report.rows.table import Table

FIRST_METHOD = "ia3"
"""Proposed where nothing was tuned."""


def same_model(table: Table) -> list[str]:
    """List the commands that would put ICL and tuning on one model, where no model has both.

    The tuned model comes first: it takes in-context learning without training.
    """
    tuned = {row.model: row for row in table.rows if row.is_tuned}
    prompted = {row.model: row for row in table.rows if row.is_icl}
    if set(tuned) & set(prompted):
        return []
    return [
        *(commands.icl(table, row, row.num_shots) for row in tuned.values()),
        *(commands.tune(table, row, FIRST_METHOD) for row in prompted.values()),
    ]


def step(table: Table, adapters: Path = Path("results/adapters")) -> str:
    """Return the command that adds most to the table.

    Args:
        table: The first of a report.
        adapters: Folder of what was trained.
    """
    if table.is_mixture:
        return _start_from(table, adapters)
    missing = same_model(table)
    if missing:
        return missing[0]
    tuned = [row for row in table.rows if row.is_tuned]
    # Beside a model that writes text stands its zero-shot row; where none does, it is a sentence model.
    names = CLASSIFIERS if all(row.is_classified for row in table.rows) else METHODS
    untried = [name for name in names if name not in {row.method for row in table.rows}]
    return commands.tune(table, (tuned or list(table.rows))[0], untried[0]) if untried else "peftbench list recipes"


def _start_from(table: Table, adapters: Path) -> str:
    """Go on from what was tuned on a group of tasks, or tune on it."""
    row = next((row for row in reversed(table.rows) if row.is_tuned), None)
    if row is None:
        return commands.tune(table, table.rows[0], FIRST_METHOD)
    return commands.start_from(row, str(adapters / row.records[0].id))
