"""Values of a row as people read them."""

from collections.abc import Sequence

from peftbench.report.rows import units
from peftbench.report.rows.table import Interval, Row
from peftbench.report.rows.units import MARK, Range


def flops(row: Row, name: str) -> str:
    """Write a cost in FLOPs, marked where it is estimated."""
    value = row.cost(name)
    is_estimated = value and row.costs[name].kind == "estimated"
    return (MARK if is_estimated else "") + units.flops(value)


def have_orders(rows: Sequence[Row]) -> bool:
    """Return whether some rows were run with their shots in several orders."""
    return any(row.num_orders not in (None, Range(1, 1)) for row in rows)


def pool(row: Row) -> str:
    """Write over how many seeds and templates medians were taken: 5 x 4."""
    return _product(row.num_seeds, row.num_templates)


def pool_with_orders(row: Row) -> str:
    """Write over how many seeds, orders of the shots and templates medians were taken: 5 x 3 x 4."""
    return _product(row.num_seeds, row.num_orders, row.num_templates)


def _product(*ranges: Range | None) -> str:
    spans = [units.span(numbers) for numbers in ranges if numbers]
    return " x ".join(spans) if spans else units.ABSENT


def interval(ends: Interval | None, decimals: int = 1) -> str:
    """Write an interval of scores, times a hundred: 59.1-64.2; -3.1 to 4.2 where a minus would be two things."""
    if ends is None:
        return units.ABSENT
    return (" to " if ends[0] < 0 else "-").join(units.percent(end, decimals) for end in ends)


def trained(row: Row) -> str:
    """Write the trained parameters, and their share of the model's."""
    if row.num_trained_parameters is None or not row.num_parameters:
        return units.ABSENT
    if not row.num_trained_parameters:
        return "0"
    share = units.fraction(row.num_trained_parameters / row.num_parameters)
    return f"{units.number(row.num_trained_parameters)} {share}"


def seconds(row: Row) -> str:
    """Write the seconds of learning."""
    value = row.cost("learn_seconds")
    return units.ABSENT if value is None else f"{value:.1f}"
