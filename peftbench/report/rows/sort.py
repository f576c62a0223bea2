"""Rows in the order of a field."""

from collections.abc import Sequence
from dataclasses import replace

from peftbench.errors import RecordError
from peftbench.registry import known
from peftbench.report.rows.field import Field
from peftbench.report.rows.fields import per_task, summary
from peftbench.report.rows.table import Table


def ordered(tables: Sequence[Table], name: str) -> list[Table]:
    """Sort the rows of each table by a field: scores best first, anything else lowest first, what is absent last.

    Args:
        tables: Those that lack the field stay as they are.
        name: A field's title.

    Raises:
        RecordError: No table has it.
    """
    by_title = [{field.title: field for field in (*summary(table), *per_task(table))} for table in tables]
    known(name, dict.fromkeys(title for fields in by_title for title in fields), "column", RecordError)
    return [
        _ordered(table, fields[name]) if name in fields else table
        for table, fields in zip(tables, by_title, strict=True)
    ]


def _ordered(table: Table, field: Field) -> Table:
    if field.sort_by is None:
        return replace(table, rows=tuple(sorted(table.rows, key=field.text)))
    values = [(row, field.sort_by(row)) for row in table.rows]
    present = sorted(((row, value) for row, value in values if value is not None), key=lambda pair: pair[1])
    rows = [row for row, _ in (reversed(present) if field.best_is_high else present)]
    return replace(table, rows=(*rows, *(row for row, value in values if value is None)))
