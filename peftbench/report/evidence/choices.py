"""What rows cost for so many queries, and which are shown to be worse than the best: reasons to choose one of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from peftbench.report.evidence import significance
from peftbench.report.evidence.significance import ALPHA
from peftbench.report.rows import confidence
from peftbench.report.rows.table import Row

if TYPE_CHECKING:
    import numpy as np

Standing = Literal["yes", "unclear", "no"]
UNCACHED = ("training_flops", "inference_flops_per_example")
CACHED = ("cache_flops", "cached_inference_flops_per_example")
"""Costs that are paid once, and for each query."""


@dataclass(frozen=True)
class Choice:
    """One row of the table, as something to choose.

    Args:
        flops: Of all queries, with training; None where the row does not know.
        cached_flops: The same with the shots' keys and values in a cache that is filled once; what is not ICL has none.
        is_enough: Whether it is good enough: shown, shown not to be, or neither.
    """

    row: Row
    flops: float | None
    cached_flops: float | None
    is_enough: Standing

    def price(self, cached: bool) -> float | None:
        """Return what it costs where prompts are cached, or not."""
        return self.cached_flops if cached and self.cached_flops is not None else self.flops

    @property
    def is_estimated(self) -> bool:
        """Whether a part of the price is estimated and not counted."""
        costs = [self.row.costs.get(name) for name in UNCACHED]
        return any(cost is not None and cost.kind == "estimated" and bool(cost.value) for cost in costs)


def by_price(rows: Sequence[Row], num_queries: int, standings: Sequence[Standing]) -> list[Choice]:
    """Make choices of rows, cheapest first.

    total = training + queries x FLOPs per query;  or, with a cache, filling it + queries x FLOPs per cached query

    Args:
        rows: Of one table.
        num_queries: That will be asked.
        standings: Of each row, whether it is good enough.
    """
    pairs = zip(rows, standings, strict=True)
    return sorted((_choice(row, num_queries, standing) for row, standing in pairs), key=_flops)


def cheapest(choices: Sequence[Choice], model: str | None, cached: bool) -> Choice | None:
    """Return the choice of the least price that is good enough, on one model or on any."""
    candidates = _enough(choices, model)
    priced = [(price, choice) for choice in candidates if (price := choice.price(cached)) is not None]
    return min(priced, key=lambda pair: pair[0])[1] if priced else None


def unpriced(choices: Sequence[Choice], model: str | None) -> list[Choice]:
    """List the choices that are good enough, on one model or on any, and have no price: those of served models, say."""
    return [choice for choice in _enough(choices, model) if choice.price(False) is None]


def _enough(choices: Sequence[Choice], model: str | None) -> list[Choice]:
    return [choice for choice in choices if choice.is_enough == "yes" and model in {None, choice.row.model}]


def not_worse(rows: Sequence[Row], best: Row) -> list[Standing]:
    """Judge which rows are not shown to be worse than the best one.

    z = (best - row) / s, s the standard deviation of that difference over the bootstrap's draws, which are of the same
    examples for each row; p by the normal distribution, two-sided, corrected by Holm for all rows but the best one.
    """
    draws = [_draws(row) for row in rows]
    place = next(place for place, row in enumerate(rows) if row is best)
    p_values = [_p_value(best.score - row.score, draws[place], draw) for row, draw in zip(rows, draws, strict=True)]
    tested = [other for other, value in enumerate(p_values) if value is not None and other != place]
    corrected = dict(zip(tested, significance.holm([p_values[other] or 0.0 for other in tested]), strict=True))
    standings: list[Standing] = ["unclear" if value is None else "yes" for value in p_values]
    for other, value in corrected.items():
        if value < ALPHA:
            standings[other] = "no"
    return standings


def cost_line(row: Row, *, cached: bool = False) -> tuple[float, float] | None:
    """Return what a row costs once, and for each query, in FLOPs; None where it does not know.

    Args:
        row: Of a table.
        cached: With the shots' keys and values in a cache, which ICL alone has.
    """
    if cached and not row.is_icl:
        return None
    once, query = map(row.cost, CACHED if cached else UNCACHED)
    once = once if cached else row.once_flops
    return None if once is None or query is None else (once, query)


def _choice(row: Row, num_queries: int, is_enough: Standing) -> Choice:
    plain, cached = (_total(cost_line(row, cached=is_cached), num_queries) for is_cached in (False, True))
    return Choice(row, plain, cached, is_enough)


def _flops(choice: Choice) -> float:
    return math.inf if choice.flops is None else choice.flops


def _total(line: tuple[float, float] | None, num_queries: int) -> float | None:
    return None if line is None else line[0] + num_queries * line[1]


def _draws(row: Row) -> "np.ndarray | None":
    """Return the bootstrap's draws of a row's score, the mean over its tasks: (draws,); None where a task has none."""
    import numpy as np

    tasks = [confidence.drawn(spread.records) for spread in row.spreads.values()]
    present = [task.values for task in tasks if task is not None]
    return np.asarray(np.mean(present, axis=0, dtype=np.float64)) if len(present) == len(tasks) else None


def _p_value(difference: float, best: "np.ndarray | None", row: "np.ndarray | None") -> float | None:
    if best is None or row is None:
        return None
    error = float((best - row).std())
    if not error:
        return 1.0 if not difference else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))
