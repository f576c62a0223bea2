"""Rows, a number of queries, a score -> what is the cheapest that is good enough, if that can be told."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from peftbench.report.evidence import significance
from peftbench.report.evidence.break_even import BreakEven, break_evens
from peftbench.report.evidence.significance import ALPHA
from peftbench.report.rows import confidence
from peftbench.report.rows.table import Row, Table
from peftbench.report.rows.units import Range

if TYPE_CHECKING:
    import numpy as np

Standing = Literal["yes", "unclear", "no"]


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
        costs = [self.row.costs.get(name) for name in ("training_flops", "inference_flops_per_example")]
        return any(cost is not None and cost.kind == "estimated" and bool(cost.value) for cost in costs)


@dataclass(frozen=True)
class Pick:
    """The cheapest that is good enough.

    Args:
        model: On which it has to be; None for any.
        plain: Where each query runs its whole prompt; None where nothing will do.
        cached: Where the shots' keys and values are in a cache.
    """

    model: str | None
    plain: Choice | None
    cached: Choice | None


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
        gaps: Why that is not enough evidence; none where it is.
    """

    table: Table
    num_queries: int
    min_score: float | None
    best: Row
    choices: tuple[Choice, ...]
    picks: tuple[Pick, ...]
    break_evens: tuple[BreakEven, ...]
    gaps: tuple[Gap, ...]


def advise(table: Table, num_queries: int, min_score: float | None = None) -> Advice:
    """Find the cheapest row that is good enough for so many queries.

    total = training + queries x FLOPs per query;  or, with a cache, filling it + queries x FLOPs per cached query

    Args:
        table: Rows over the same tasks.
        num_queries: That will be asked.
        min_score: Good enough is what has its whole 95 % interval at or above it, or below it where lower is
            better; None for what is not shown to be worse than the best row.
    """
    best = table.best
    rows = table.rows
    standings = _not_worse(rows, best) if min_score is None else [_standing(row, min_score) for row in rows]
    pairs = zip(rows, standings, strict=True)
    choices = sorted((_choice(row, num_queries, standing) for row, standing in pairs), key=_flops)
    models = list(dict.fromkeys(row.model for row in rows))
    of_each = models if len(models) > 1 else []
    picks = [
        Pick(model, _cheapest(choices, model, False), _cheapest(choices, model, True)) for model in (None, *of_each)
    ]
    return Advice(
        table,
        num_queries,
        min_score,
        best,
        tuple(choices),
        tuple(picks),
        tuple(break_evens(table)),
        tuple(_gaps(table, choices, picks[0])),
    )


def _choice(row: Row, num_queries: int, is_enough: Standing) -> Choice:
    plain = _total(row, num_queries, "inference", "training_flops")
    cached = _total(row, num_queries, "cached_inference", "cache_flops") if row.is_icl else None
    return Choice(row, plain, cached, is_enough)


def _flops(choice: Choice) -> float:
    return math.inf if choice.flops is None else choice.flops


def _total(row: Row, num_queries: int, query: str, once: str) -> float | None:
    per_query, first = row.cost(f"{query}_flops_per_example"), row.cost(once)
    return None if per_query is None or first is None else first + num_queries * per_query


def _standing(row: Row, score: float) -> Standing:
    low, high = row.interval or (-math.inf, math.inf)
    worst, best = (low - score, high - score) if row.metric.higher_is_better else (score - high, score - low)
    if worst >= 0:
        return "yes"
    return "no" if best < 0 else "unclear"


def _not_worse(rows: Sequence[Row], best: Row) -> list[Standing]:
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


def _cheapest(choices: Sequence[Choice], model: str | None, cached: bool) -> Choice | None:
    """Return the choice of the least price that is good enough, on one model or on any."""
    candidates = [choice for choice in choices if choice.is_enough == "yes" and model in {None, choice.row.model}]
    priced = [(price, choice) for choice in candidates if (price := choice.price(cached)) is not None]
    return min(priced, key=lambda pair: pair[0])[1] if priced else None


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
