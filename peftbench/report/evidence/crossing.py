"""From how many labelled examples on tuning is ahead of prompts, by their learning curves."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftbench.report.rows import confidence
from peftbench.report.rows.curves import Curve, curves
from peftbench.report.rows.table import Row, Table

if TYPE_CHECKING:
    import numpy as np

BEFORE, BEYOND = 0.0, math.inf
"""Places of a crossing before the fewest and behind the most examples that both ran."""


@dataclass(frozen=True)
class Crossing:
    """Where a tuned curve comes out above a prompted one, and stays there.

    Args:
        counts: Numbers of examples that both ran.
        leads: The tuned score minus the prompted one at each of them.
        place: Examples from which on tuning is ahead; `BEFORE` or `BEYOND` where the curves do not cross.
        interval: 95 %, of the place; None where a row does not say which answers are right.
    """

    tuned: Curve
    prompted: Curve
    counts: tuple[int, ...]
    leads: tuple[float, ...]
    place: float
    interval: tuple[float, float] | None


def crossings(table: Table) -> Iterator[Crossing]:
    """Hold each tuned curve against the prompted one of the best mean score, of the same model where there is one."""
    drawn = curves(table)
    prompted = [curve for curve in drawn if curve.first.is_icl]
    for tuned in (curve for curve in drawn if curve.first.is_tuned):
        own = [curve for curve in prompted if curve.first.model == tuned.first.model] or prompted
        fitting = [curve for curve in own if len(_common(tuned, curve)) > 1]
        if fitting:
            yield _cross(tuned, max(fitting, key=lambda curve: _mean(curve, _common(tuned, curve))))


def place(counts: Sequence[int], leads: Sequence[float]) -> float:
    """Find the number of examples from which on all leads are above zero, straight on a scale of log k in between.

    log k = log k_j - d_j (log k_{j+1} - log k_j) / (d_{j+1} - d_j),  d_j the last lead that is not above zero

    Args:
        counts: k, rising.
        leads: d, at each of them.
    """
    behind = [index for index, lead in enumerate(leads) if lead <= 0]
    if not behind:
        return BEFORE
    last = behind[-1]
    if last == len(leads) - 1:
        return BEYOND
    low, high = math.log(counts[last]), math.log(counts[last + 1])
    return math.exp(low - leads[last] * (high - low) / (leads[last + 1] - leads[last]))


def _cross(tuned: Curve, prompted: Curve) -> Crossing:
    counts = _common(tuned, prompted)
    above, below = ([_at(curve, count) for count in counts] for curve in (tuned, prompted))
    sign = 1 if tuned.first.metric.higher_is_better else -1
    leads = tuple(sign * (row.score - rival.score) for row, rival in zip(above, below, strict=True))
    return Crossing(tuned, prompted, counts, leads, place(counts, leads), _interval(counts, above, below, sign))


def _interval(
    counts: Sequence[int], tuned: Sequence[Row], prompted: Sequence[Row], sign: int
) -> tuple[float, float] | None:
    """Draw the examples again, the same for all rows, and cross the curves of each draw.

    Paper: Efron and Tibshirani 1993, chapter 13 (percentiles).
    """
    import numpy as np

    drawn = [[_drawn(row) for row in rows] for rows in (tuned, prompted)]
    if any(values is None for side in drawn for values in side):
        return None
    leads = sign * (np.array(drawn[0]) - np.array(drawn[1])).T  # (draws, counts)
    places = np.sort([place(counts, of_draw) for of_draw in leads.tolist()])
    tail = round((1 - confidence.CONFIDENCE) / 2 * len(places))
    return float(places[tail]), float(places[-1 - tail])


def _drawn(row: Row) -> "np.ndarray | None":
    """Draw a row's score again: (draws,); the same examples for all rows of a table."""
    import numpy as np

    draws = [confidence.drawn(spread.records) for spread in row.spreads.values()]
    values = [draw.values for draw in draws if draw is not None]
    return np.asarray(np.mean(values, axis=0, dtype=np.float64)) if len(values) == len(draws) else None


def _common(first: Curve, second: Curve) -> tuple[int, ...]:
    return tuple(sorted({row.num_labelled for row in first.rows} & {row.num_labelled for row in second.rows}))


def _at(curve: Curve, count: int) -> Row:
    return next(row for row in curve.rows if row.num_labelled == count)


def _mean(curve: Curve, counts: Sequence[int]) -> float:
    sign = 1 if curve.first.metric.higher_is_better else -1
    return sign * sum(_at(curve, count).score for count in counts) / len(counts)
