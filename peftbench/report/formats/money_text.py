"""Money as people and programs read it; no column of it has anything else in it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from peftbench.costs.prices.quotes import Money, Point, Quote
from peftbench.report.evidence.money import PricedRows
from peftbench.report.formats import columns
from peftbench.report.formats.columns import Column
from peftbench.report.notes import money as notes
from peftbench.report.rows import names, units

TO_WIDTH = 22
"""From which on the name of an offer goes on in the next line."""
ITEMS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("input",): ("input",),
    ("cached", "input"): ("cached_input",),
    ("cache", "writes"): ("cache_writes", "cache_storage"),
    ("output",): ("output",),
    ("training",): ("training",),
    ("hosting",): ("hosting",),
}
"""Header -> the items of a bill that it sums."""


def table(money: Money, groups: Sequence[Sequence[Quote]], keys: Sequence[Column]) -> list[Column]:
    """Lay out what offers come to, a line for each group.

    Args:
        money: That they are of.
        groups: Of quotes that differ in little; what differs is a range.
        keys: Columns that say whose they are.
    """
    offers = tuple(group[0].offer.title for group in groups)
    laid_out = [*keys, Column(("paid to",), offers, is_text=True, is_key=True, fold_at=TO_WIDTH)]
    for header, items in ITEMS.items():
        cells = [_cell([_item(quote, items) for quote in group]) for group in groups]
        if any(cells):
            laid_out.append(Column(header, tuple(cells)))
    totals = tuple(_cell([units.money(quote.total) for quote in group]) for group in groups)
    return [*laid_out, Column(("total", money.currency), totals)]


def to_json(money: Money, name: Callable[[int], dict[str, Any]], points: Sequence[Point]) -> dict[str, Any]:
    """Return amounts as one JSON object: `schema.MoneyFields`.

    Args:
        money: Amounts and prices.
        name: Of a strategy's place, what says which one it is.
        points: Break-evens.
    """
    traffic = money.traffic
    return {
        "prices": money.prices.name,
        "currency": money.currency,
        "num_queries": traffic.num_queries,
        "queries_per_day": traffic.queries_per_day,
        "days": traffic.days,
        "cache_hit_rate": traffic.cache_hit_rate,
        "quotes": [name(quote.place) | _quote(quote) for quote in money.quotes],
        "break_evens": [_point(point, name) for point in points],
        "unpriced": [name(place) for place in money.unpriced],
        "findings": [*notes.hosting(money), *notes.remarks(money)],
        "conventions": list(notes.conventions(money)),
    }


def of_rows(priced: PricedRows, quotes: Sequence[Quote]) -> list[Column]:
    """Lay out what some offers for rows come to, a line for each."""
    keys = columns.select([priced.row(quote) for quote in quotes])
    return table(priced.money, [[quote] for quote in quotes], keys)


def rows_to_json(priced: PricedRows) -> dict[str, Any]:
    """Return the money of rows as one JSON object: `schema.MoneyFields`."""
    return to_json(priced.money, lambda place: {"strategy": names.full(priced.rows[place])}, priced.points)


def _quote(quote: Quote) -> dict[str, Any]:
    return {
        "offer": quote.offer.title,
        "is_cached": quote.offer.is_cached,
        "is_hosted": quote.offer.is_hosted,
        "items": [asdict(item) for item in quote.bill.items],
        "total": asdict(quote.bill.total),
    }


def _point(point: Point, name: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    sides = {"tuned": point.tuned, "prompted": point.prompted}
    return {
        **{side: name(quote.place) | {"offer": quote.offer.title} for side, quote in sides.items()},
        "queries": point.queries,
        "queries_per_day": point.queries_per_day,
    }


def _item(quote: Quote, names: Sequence[str]) -> str:
    """Write the sum of some items; nothing where the bill has none of them."""
    present = [item.name for item in quote.bill.items if item.name in names]
    return units.money(quote.bill.of(*present)) if present else ""


def _cell(texts: Sequence[str]) -> str:
    """Write what a group has in common, or its least and its most: quotes come cheapest first."""
    return texts[0] if len(set(texts)) == 1 else f"{texts[0]}-{texts[-1]}"
