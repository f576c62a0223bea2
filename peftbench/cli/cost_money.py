"""What a model's strategies cost in money, as text and as data."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.costs.of_model import ModelCosts, Strategy, Workload
from peftbench.costs.prices.demand import Demand, of_strategy
from peftbench.costs.prices.quotes import Money, Point, Quote, quote
from peftbench.costs.prices.read import Prices
from peftbench.report.formats import money_text
from peftbench.report.formats.columns import Column
from peftbench.report.formats.text import grids, note
from peftbench.report.notes import money as notes

CACHED, UNMERGED = "cached", "unmerged"
"""Variants that have no price of their own: a cache is the offer's, and a method costs the same in both forms."""


def price(costs: ModelCosts, work: Workload, prices: Prices) -> Money:
    """Price a model's strategies; places of the quotes are theirs."""
    return quote(prices, [_demand(strategy, costs, work) for strategy in costs.strategies])


def parts(models: Sequence[ModelCosts], work: Workload, prices: Prices, console: Console) -> list[RenderableType]:
    """Lay out the money of each model, its break-evens, and what it must not be read without."""
    drawn: list[RenderableType] = []
    for costs in models:
        money = price(costs, work, prices)
        model = f"{costs.model.name}: " if len(models) > 1 else ""
        drawn.append(Text(f"{model}{notes.title(money)}", style="bold"))
        groups = _groups(money, costs)
        names = Column(("strategy",), tuple(_name(group, costs) for group in groups), is_text=True, is_key=True)
        drawn += grids(money_text.table(money, groups, [names]), console.width)
        drawn += _break_evens(money, groups, costs, console)
        drawn += [note(text, "") for text in (*notes.hosting(money), *notes.remarks(money))]
        drawn += [*(note(text, "dim") for text in notes.conventions(money)), ""]
    return drawn


def data(costs: ModelCosts, work: Workload, prices: Prices) -> dict[str, Any]:
    """Build one JSON object of a model's money."""
    money, strategies = price(costs, work, prices), costs.strategies
    return money_text.to_json(
        money, lambda place: {"strategy": strategies[place].title}, list(_points(money, strategies))
    )


def _demand(strategy: Strategy, costs: ModelCosts, work: Workload) -> Demand | None:
    if strategy.variant in (CACHED, UNMERGED):
        return None
    cached = next((other for other in costs.strategies if other.variant == CACHED), None)
    return of_strategy(strategy, work, cached if strategy.is_icl else None)


def _groups(money: Money, costs: ModelCosts) -> list[list[Quote]]:
    """Put the methods of an offer together: they differ in what training costs, and that by little."""
    groups: dict[tuple[str, str], list[Quote]] = {}
    for priced in money.quotes:
        strategy = costs.strategies[priced.place]
        groups.setdefault(("tuned" if strategy.is_tuned else strategy.title, priced.offer.title), []).append(priced)
    return list(groups.values())


def _name(group: Sequence[Quote], costs: ModelCosts) -> str:
    names = [costs.strategies[priced.place].title for priced in group]
    return names[0] if len(names) == 1 else f"tuned, {len(names)} methods"


def _points(money: Money, strategies: Sequence[Strategy]) -> list[Point]:
    places = range(len(strategies))
    tuned, prompted = ([place for place in places if is_side(strategies[place])] for is_side in (_is_tuned, _is_icl))
    return list(money.points(tuned, prompted))


def _is_tuned(strategy: Strategy) -> bool:
    return strategy.is_tuned


def _is_icl(strategy: Strategy) -> bool:
    return strategy.is_icl


def _break_evens(
    money: Money, groups: Sequence[Sequence[Quote]], costs: ModelCosts, console: Console
) -> list[RenderableType]:
    """Lay out a line for each tuned offer and a column for each prompted one: queries, and those a day."""
    rivals = [group[0] for group in groups if costs.strategies[group[0].place].is_icl]
    tuned = [group for group in groups if group[0].is_tuned]
    if not rivals or not tuned:
        return []
    columns = [
        Column(("strategy",), tuple(_name(group, costs) for group in tuned), is_text=True, is_key=True),
        Column(
            ("paid to",),
            tuple(group[0].offer.title for group in tuned),
            is_text=True,
            is_key=True,
            fold_at=money_text.TO_WIDTH,
        ),
    ]
    for rival in rivals:
        # Of several methods the dearest training: the others have paid for themselves before.
        points = [money.point(group[-1], rival) for group in tuned]
        columns.append(Column(("ICL", *rival.offer.title.split("; ")), tuple(_queries(point) for point in points)))
    title = f"Queries in {money.traffic.days:,} days (a day) from which on tuning costs no more than"
    return [Text(title, style="bold"), *grids(columns, console.width)]


def _queries(point: Point) -> str:
    if point.queries is None:
        return "n/a" if point.tuned.total is None or point.prompted.total is None else "never"
    return f"{point.queries:,} ({point.queries_per_day:,})"
