"""Learning curves: rows of a table that differ in the number of labelled examples alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.report.rows import names
from peftbench.report.rows.table import Row, Table


@dataclass(frozen=True)
class Curve:
    """Rows of one method, model and settings.

    Args:
        rows: At least two, by the number of labelled examples.
        zero: The model without any; None where the table does not have it.
    """

    rows: tuple[Row, ...]
    zero: Row | None = None

    @property
    def first(self) -> Row:
        """The row of the fewest examples, for what is the same in all of them."""
        return self.rows[0]

    @property
    def points(self) -> tuple[Row, ...]:
        """Its rows, and the one without examples before them."""
        return self.rows if self.zero is None else (self.zero, *self.rows)

    @property
    def title(self) -> str:
        """Method, settings and model."""
        return names.title(self.first)


def curves(table: Table) -> list[Curve]:
    """Find the learning curves of a table, in the order of its rows; a prompted one needs one row beside zero-shot."""
    own = [row for row in table.rows if not row.published]
    zeros = {(row.model, names.settings(row)): row for row in own if row.is_zero_shot}
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in own:
        if not row.is_zero_shot:
            groups.setdefault((row.method, row.model, names.settings(row)), []).append(row)
    joined = [
        _curve(rows, zeros.get((model, settings)), zeros.get((model, "")))
        for (_, model, settings), rows in groups.items()
    ]
    return [curve for curve in joined if len(curve.points if curve.first.is_icl else curve.rows) > 1]


def _curve(rows: Sequence[Row], alike: Row | None, plain: Row | None) -> Curve:
    """Join rows; a zero-shot row of other settings, such as the order of the shots, is the same model without shots."""
    ordered = tuple(sorted(rows, key=lambda row: row.num_shots))
    return Curve(ordered, (alike or plain) if ordered[0].is_icl else plain)
