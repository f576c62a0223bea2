"""Rows and prices -> what they cost in money, by the tokens that their records counted."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.costs.prices.demand import Demand
from peftbench.costs.prices.quotes import Money, Point, Quote, quote
from peftbench.costs.prices.read import Prices
from peftbench.costs.prices.schema import Use
from peftbench.report.evidence.decide import Decision
from peftbench.report.rows.table import Row
from peftbench.spec.cell import CONTENT_FREE
from peftbench.store.record import Record

QUERY, TRAINING = "inference_flops_per_example", "training_flops"
MEANS = ("shot_tokens", "input_tokens", "choice_tokens", "num_choices", "num_prompts")
TOKEN_BYTES = 4
"""Of a token of the shots, as `disk_bytes` counts them."""


@dataclass(frozen=True)
class PricedRows:
    """What rows cost in money.

    Args:
        rows: That were priced; places of quotes are theirs.
        points: Break-evens of tuned rows against prompted ones.
    """

    rows: tuple[Row, ...]
    money: Money
    points: tuple[Point, ...]

    @property
    def shown(self) -> tuple[Quote, ...]:
        """The cheapest offer of each row, and where shots can be cached that of plain prompts besides."""
        first: dict[tuple[int, bool], Quote] = {}
        for priced in self.money.quotes:
            first.setdefault((priced.place, priced.offer.is_cached and not priced.offer.is_hosted), priced)
        return tuple(first.values())

    def row(self, priced: Quote) -> Row:
        """Return the row that a quote is of."""
        return self.rows[priced.place]


def of_rows(rows: Sequence[Row], prices: Prices) -> PricedRows:
    """Price rows, each by all offers that there are for it, and compare the cheapest ones.

    The cheapest offer of each tuned row stands against that of the ICL row of most shots, on its model where there is
    one: by the token if it can be had so, as what is paid by the hour costs the same with and without training.
    """
    money = quote(prices, [demand(row) for row in rows])
    prompted = sorted((place for place, row in enumerate(rows) if row.is_icl), key=lambda place: rows[place].num_shots)
    points = []
    for place, row in enumerate(rows):
        rivals = [rival for rival in prompted if rows[rival].model == row.model] or prompted
        if row.is_tuned and rivals:
            best, rival = money.cheapest([place]), _rival(money, rivals[-1])
            points += [money.point(best, rival)] if best and rival else []
    return PricedRows(tuple(rows), money, tuple(points))


def of_decision(decision: Decision, prices: Prices) -> PricedRows:
    """Price the best prompted row and the best tuned one, and compare all of their offers, by the token first."""
    rows = tuple(best.row for best in (decision.prompted, decision.tuned) if best)
    money = quote(prices, [demand(row) for row in rows])
    points = money.points([1], [0]) if len(rows) > 1 else ()
    return PricedRows(rows, money, tuple(sorted(points, key=lambda point: point.prompted.offer.is_hosted)))


def _rival(money: Money, place: int) -> Quote | None:
    by_token = [priced for priced in money.of(place) if priced.total is not None and not priced.offer.is_hosted]
    return by_token[0] if by_token else money.cheapest([place])


def demand(row: Row) -> Demand | None:
    """Return what a row takes: means over tasks, seeds and templates; None where its records do not say it."""
    by_task = [[_of_record(record) for record in spread.records] for spread in row.spreads.values()]
    records = [demand for task in by_task for demand in task]
    if not records or any(demand is None for demand in records):
        return None
    first = records[0]
    assert first is not None
    means = {name: _mean(by_task, name) for name in MEANS}
    examples = [demand.num_examples for demand in records if demand and demand.num_examples is not None]
    return Demand(
        use=first.use,
        is_shared=first.is_shared,
        query_flops=row.cost(QUERY),
        cached_query_flops=row.cost("cached_inference_flops_per_example"),
        training_flops=row.cost(TRAINING),
        num_examples=statistics.fmean(examples) if len(examples) == len(records) else None,
        **means,
    )


def _mean(by_task: Sequence[Sequence[Demand | None]], name: str) -> float:
    return statistics.fmean(statistics.fmean(getattr(demand, name) for demand in task) for task in by_task)


def _of_record(record: Record) -> Demand | None:
    """Return what a record says of its queries, in tokens.

    None where it does not, and where no text is sent that others could run: shots as a prefix, attention in blocks.
    """
    tokens, options = _by_rule(record, QUERY), record.identity.get("icl", {})
    if tokens is None or options.get("as_prefix") or options.get("attention", "full") != "full":
        return None
    use: Use = "tuned" if record.learned.learner == "tune" else "icl" if record.learned.num_shots else "zero-shot"
    is_chosen = record.learned.chosen_from is not None
    disk = record.cost("disk_bytes", "counted") if use == "icl" and not is_chosen else None
    ensemble, calibrated = _num_prompts(record)
    num_choices, choices = _choices(record, ensemble * calibrated)
    # The bytes are of all prompts of an ensemble, and of one of those that calibrate.
    shots = calibrated * disk.value / TOKEN_BYTES if disk and disk.value else 0.0
    # Rows that share a query without content have fewer prompts than that, and all tokens together are known.
    shots = max(min(shots, tokens - choices), 0.0)
    context = max(tokens - shots - choices, 0.0)
    trained = _by_rule(record, TRAINING)
    return Demand(
        use=use,
        shot_tokens=shots,
        input_tokens=context,
        choice_tokens=choices,
        num_choices=num_choices,
        query_flops=None,
        num_examples=trained / 3 / tokens if use == "tuned" and trained is not None and tokens else None,
        num_prompts=ensemble * calibrated,
        is_shared=not is_chosen,
    )


def _by_rule(record: Record, name: str) -> float | None:
    """Return the tokens behind an estimate by the paper's rule, which is exact in them: 2 N FLOPs each, or N."""
    cost = record.cost(name, "estimated")
    size = record.model.num_parameters
    if cost is None or cost.value is None or size is None:
        return None
    return cost.value / size / (1 if record.model.is_encoder_decoder else 2)


def _choices(record: Record, num_prompts: int) -> tuple[float, float]:
    """Return how many choices a query has, and their tokens in all prompts: what was fed, and a decoder's last ones."""
    result = record.results[0]
    number = float(len(result.num_predicted or ())) or max(1.0, round(1 / (record.task.chance or 1)))
    fed = record.work.get("scoring_choice_tokens", 0) / sum(result.num_examples for result in record.results)
    return number, fed + (0.0 if record.model.is_encoder_decoder else number * num_prompts)


def _num_prompts(record: Record) -> tuple[int, int]:
    """Return the prompts of a query: of an ensemble one for each shot; times those that calibrate each query anew."""
    options = record.identity.get("icl", {})
    ensemble = max(record.learned.num_shots, 1) if options.get("ensemble", "none") != "none" else 1
    is_contextual = options.get("calibrate") and options.get("calibrate_by", "contextual") == "contextual"
    is_anew = is_contextual and record.cost("calibration_flops", "counted") is None
    return ensemble, 1 + len(options.get("content_free", CONTENT_FREE)) if is_anew else 1
