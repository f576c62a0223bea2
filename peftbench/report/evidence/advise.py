"""Rows, a number of queries, an accuracy -> what is the cheapest that is good enough, if that can be told."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from peftbench.report.evidence import significance
from peftbench.report.evidence.break_even import BreakEven, break_evens
from peftbench.report.evidence.significance import ALPHA
from peftbench.report.notes import commands
from peftbench.report.rows import confidence, names, units
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
        is_enough: Whether it is accurate enough: shown, shown not to be, or neither.
    """

    row: Row
    flops: float | None
    cached_flops: float | None
    is_enough: Standing

    def price(self, cached: bool) -> float | None:
        """Give what it costs where prompts are cached, or not."""
        return self.cached_flops if cached and self.cached_flops is not None else self.flops

    @property
    def is_estimated(self) -> bool:
        """Whether a part of the price is estimated and not counted."""
        costs = [self.row.costs.get(name) for name in ("training_flops", "inference_flops_per_example")]
        return any(cost is not None and cost.kind == "estimated" and bool(cost.value) for cost in costs)


@dataclass(frozen=True)
class Pick:
    """The cheapest that is accurate enough.

    Args:
        model: On which it has to be; None for any.
        plain: Where each query runs its whole prompt; None where nothing will do.
        cached: Where the shots' keys and values are in a cache.
    """

    model: str | None
    plain: Choice | None
    cached: Choice | None


@dataclass(frozen=True)
class Advice:
    """What a table says about a decision.

    Args:
        best: The most accurate row.
        choices: Cheapest first.
        picks: Over all, then on each model.
        lacking: Why that is not enough evidence; empty where it is.
        commands: What to run next.
        caveats: What is uncertain all the same.
    """

    table: Table
    num_queries: int
    min_accuracy: float | None
    best: Row
    choices: tuple[Choice, ...]
    picks: tuple[Pick, ...]
    break_evens: tuple[BreakEven, ...]
    lacking: tuple[str, ...]
    commands: tuple[str, ...]
    caveats: tuple[str, ...]


def advise(table: Table, num_queries: int, min_accuracy: float | None = None, options: str = "") -> Advice:
    """Find the cheapest row that is accurate enough for so many queries.

    total = training + queries x FLOPs per query;  or, with a cache, filling it + queries x FLOPs per cached query

    Args:
        table: Rows over the same tasks.
        num_queries: That will be asked.
        min_accuracy: Accurate enough is what has its whole 95 % interval at or above it; None for what is not shown
            to be less accurate than the most accurate row.
        options: What a command that this names needs besides, as typed.
    """
    best = max(table.rows, key=lambda row: row.score)
    standings = _above(table.rows, min_accuracy) if min_accuracy is not None else _not_below(table.rows, best)
    made = [_choice(row, num_queries, one) for row, one in zip(table.rows, standings, strict=True)]
    choices = sorted(made, key=lambda one: math.inf if one.flops is None else one.flops)
    models = list(dict.fromkeys(row.model for row in table.rows))
    picks = [Pick(name, _cheapest(choices, name, False), _cheapest(choices, name, True)) for name in (None, *models)]
    lacking = dict(_lacking(table, choices, picks[0]))
    return Advice(
        table,
        num_queries,
        min_accuracy,
        best,
        tuple(choices),
        tuple(picks if len(models) > 1 else picks[:1]),
        tuple(break_evens(table)),
        tuple(lacking),
        tuple(dict.fromkeys(f"{command}{options}" for command in lacking.values() if command)),
        tuple(_caveats(table, choices, picks, min_accuracy)),
    )


def _choice(row: Row, num_queries: int, is_enough: Standing) -> Choice:
    plain = _total(row, num_queries, "inference", "training_flops")
    cached = _total(row, num_queries, "cached_inference", "cache_flops") if row.is_icl else None
    return Choice(row, plain, cached, is_enough)


def _total(row: Row, num_queries: int, query: str, once: str) -> float | None:
    each, first = row.cost(f"{query}_flops_per_example"), row.cost(once)
    return None if each is None or first is None else first + num_queries * each


def _above(rows: Sequence[Row], accuracy: float) -> list[Standing]:
    return [_standing(row, accuracy) for row in rows]


def _standing(row: Row, accuracy: float) -> Standing:
    low, high = row.interval or (-math.inf, math.inf)
    if low >= accuracy:
        return "yes"
    return "no" if high < accuracy else "unclear"


def _not_below(rows: Sequence[Row], best: Row) -> list[Standing]:
    """Say which rows are not shown to be less accurate than the best one.

    z = (best - row) / s, s the standard deviation of that difference over the bootstrap's draws, which are of the same
    examples for each row; p by the normal distribution, two-sided, corrected by Holm.
    """
    drawn = [_draws(row) for row in rows]
    of_best = drawn[next(place for place, row in enumerate(rows) if row is best)]
    values = [_p_value(best.score - row.score, of_best, one) for row, one in zip(rows, drawn, strict=True)]
    known = [value for value in values if value is not None]
    corrected = iter(significance.holm(known))
    standings: list[Standing] = []
    for value in values:
        if value is None:
            standings.append("unclear")
        else:
            standings.append("no" if next(corrected) < ALPHA else "yes")
    return standings


def _draws(row: Row) -> "np.ndarray | None":
    import numpy as np

    drawn = []
    for spread in row.spreads.values():
        one = confidence.drawn(spread.records)
        if one is None:
            return None
        drawn.append(one)
    return np.asarray(np.mean(drawn, axis=0, dtype=np.float64))


def _p_value(difference: float, best: "np.ndarray | None", row: "np.ndarray | None") -> float | None:
    if best is None or row is None:
        return None
    error = float((best - row).std())
    if not error:
        return 1.0 if not difference else 0.0
    return math.erfc(abs(difference) / error / math.sqrt(2))


def _cheapest(choices: Sequence[Choice], model: str | None, cached: bool) -> Choice | None:
    some = [(one.price(cached), one) for one in choices if one.is_enough == "yes" and model in {None, one.row.model}]
    priced = [(price, one) for price, one in some if price is not None]
    return min(priced, key=lambda pair: pair[0])[1] if priced else None


def _lacking(table: Table, choices: Sequence[Choice], pick: Pick) -> Iterator[tuple[str, str]]:
    """Say why the records do not suffice, each with the command that would help; "" where none would."""
    if table.is_mixture:
        yield "a mixture of tasks is there to start from, and the choice falls on a task", ""
        return
    if not any(row.is_icl for row in table.rows):
        yield "no row learns in context", _missing(table, "icl")
    if not any(row.is_tuned for row in table.rows):
        yield "no row was tuned", _missing(table, "tune")
    unsure = [row for row in table.rows if row.interval is None]
    if unsure:
        why = next(spread.why_no_interval for spread in unsure[0].spreads.values() if spread.why_no_interval)
        command = f"{commands.again(table, unsure[0])} --force" if confidence.are_old(unsure[0].records) else ""
        yield f"rows without a 95 % interval: {why}", command
    chosen = [one for one in choices if one is pick.plain or one is pick.cached]
    for one in chosen:
        if one.row.num_seeds == Range(1, 1) and not one.row.is_zero_shot:
            yield (
                f"{names.title(one.row)} has one seed: one draw of shots",
                commands.again(table, one.row, range(5)),
            )
    if not chosen and any(one.is_enough == "unclear" for one in choices):
        near = next(one for one in choices if one.is_enough == "unclear")
        yield "no row is shown to be accurate enough, and some are not shown not to be", commands.again(table, near.row)


def _missing(table: Table, learner: str) -> str:
    row = max(table.rows, key=lambda row: row.num_shots)
    if learner == "tune":
        return commands.tune(table, row, "ia3")
    return commands.icl(table, row, row.num_shots or 32)


def _caveats(
    table: Table, choices: Sequence[Choice], picks: Sequence[Pick], min_accuracy: float | None
) -> Iterator[str]:
    unclear = [names.full(one.row) for one in choices if one.is_enough == "unclear"]
    if unclear and min_accuracy is not None:
        yield f"unclear whether they reach {units.percent(min_accuracy)} %: {'; '.join(unclear)}"
    if min_accuracy is None:
        yield "not shown to be less accurate is no proof of being as accurate: see the intervals"
    if any(one.is_estimated for one in choices):
        yield "~ training FLOPs by the paper's rule come out too high: the answer then errs against tuning"
    if len({row.model for row in table.rows}) > 1:
        yield "rows on different models differ in more than the way of learning"
    yield "intervals are over examples: other shots, templates and tasks may come out differently"
    yield "FLOPs are neither seconds nor money: `peftbench cost` and the records' measured seconds have more"
