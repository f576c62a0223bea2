"""Rows, a number of queries, a score -> what is the cheapest that is good enough, if that can be told."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from peftbench.costs.prices.read import Prices
from peftbench.report.evidence.break_even import BreakEven, break_evens
from peftbench.report.evidence.choices import Choice, Standing, by_price, cheapest, not_worse, unpriced
from peftbench.report.evidence.crossing import Crossing, crossings
from peftbench.report.evidence.money import PricedRows, of_rows
from peftbench.report.rows.table import Row, Table
from peftbench.report.rows.units import Range


@dataclass(frozen=True)
class Pick:
    """The cheapest that is good enough.

    Args:
        model: On which it has to be; None for any.
        plain: Where each query runs its whole prompt; None where nothing will do, or nobody knows what it costs.
        cached: Where the shots' keys and values are in a cache.
        unpriced: Those that are good enough, and of which the records do not say what they cost.
    """

    model: str | None
    plain: Choice | None
    cached: Choice | None
    unpriced: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class Gap:
    """A reason why the records do not suffice for a decision.

    Args:
        kind: What there is not enough of.
        row: The row that shows it; None where there is none.
    """

    kind: Literal["task", "icl", "tuned", "interval", "seeds", "score"]
    row: Row | None = None


@dataclass(frozen=True)
class Advice:
    """What a table says about a decision.

    Args:
        best: The row of the best score.
        choices: Cheapest first.
        picks: Over all, then on each model.
        crossings: Where tuned learning curves and prompted ones cross.
        gaps: Why that is not enough evidence; none where it is.
        money: What the choices cost in money, in their order; None where no prices were given.
    """

    table: Table
    num_queries: int
    min_score: float | None
    best: Row
    choices: tuple[Choice, ...]
    picks: tuple[Pick, ...]
    break_evens: tuple[BreakEven, ...]
    crossings: tuple[Crossing, ...]
    gaps: tuple[Gap, ...]
    money: PricedRows | None = None


def advise(table: Table, num_queries: int, min_score: float | None = None, prices: Prices | None = None) -> Advice:
    """Find the cheapest row that is good enough for so many queries.

    Args:
        table: Rows over the same tasks.
        num_queries: That will be asked.
        min_score: Good enough is what has its whole 95 % interval at or above it, or below it where lower is
            better; None for what is not shown to be worse than the best row.
        prices: By which rows are priced in money, too; None for FLOPs alone.
    """
    best = table.best
    rows = table.rows
    standings = not_worse(rows, best) if min_score is None else [_standing(row, min_score) for row in rows]
    choices = by_price(rows, num_queries, standings)
    models = list(dict.fromkeys(row.model for row in rows))
    of_each = models if len(models) > 1 else []
    picks = [
        Pick(model, cheapest(choices, model, False), cheapest(choices, model, True), tuple(unpriced(choices, model)))
        for model in (None, *of_each)
    ]
    return Advice(
        table,
        num_queries,
        min_score,
        best,
        tuple(choices),
        tuple(picks),
        tuple(break_evens(table)),
        tuple(crossings(table)),
        tuple(_gaps(table, choices, picks[0])),
        of_rows([choice.row for choice in choices], prices) if prices else None,
    )


def _standing(row: Row, score: float) -> Standing:
    low, high = row.interval or (-math.inf, math.inf)
    worst, best = (low - score, high - score) if row.metric.higher_is_better else (score - high, score - low)
    if worst >= 0:
        return "yes"
    return "no" if best < 0 else "unclear"


def _gaps(table: Table, choices: Sequence[Choice], pick: Pick) -> Iterator[Gap]:
    if table.is_mixture:
        yield Gap("task")
        return
    if not any(row.is_icl for row in table.rows):
        yield Gap("icl")
    if not any(row.is_tuned for row in table.rows):
        yield Gap("tuned")
    unsure = [row for row in table.rows if row.interval is None]
    if unsure:
        yield Gap("interval", unsure[0])
    picked = [choice for choice in choices if choice is pick.plain or choice is pick.cached]
    for choice in picked:
        if choice.row.num_seeds == Range(1, 1) and not choice.row.is_zero_shot:
            yield Gap("seeds", choice.row)
    unclear = [choice for choice in choices if choice.is_enough == "unclear"]
    if unclear and not picked:
        yield Gap("score", unclear[0].row)
