"""Strategies and prices -> what each offer comes to, and when what is tuned has paid for itself."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from peftbench.costs.prices.bill import Bill
from peftbench.costs.prices.demand import Demand
from peftbench.costs.prices.offers import Offer, break_even, offers
from peftbench.costs.prices.read import Prices
from peftbench.costs.prices.schema import Traffic


@dataclass(frozen=True)
class Quote:
    """An offer for a strategy with its bill.

    Args:
        place: Of the strategy among those that were priced.
    """

    place: int
    offer: Offer
    bill: Bill

    @property
    def total(self) -> float | None:
        """All that is paid; None where a part of it is not known."""
        return self.bill.total.value

    @property
    def is_tuned(self) -> bool:
        """Whether it is of a strategy that trains."""
        return self.offer.demand.use == "tuned"


@dataclass(frozen=True)
class Point:
    """From how many queries on a tuned offer costs no more than a prompted one.

    Args:
        queries: Over the days of the traffic; None where it always costs more, or where a part is not known.
        queries_per_day: The same by the day, rounded up.
    """

    tuned: Quote
    prompted: Quote
    queries: int | None
    queries_per_day: int | None


@dataclass(frozen=True)
class Money:
    """What strategies cost by given prices.

    Args:
        traffic: The queries that are priced.
        quotes: The cheapest first, those without a total last.
        uncached: Offers of cached prompts that cannot be had: `Offer.why_uncached`.
        unpriced: Places of the strategies that no offer is for.
    """

    prices: Prices
    traffic: Traffic
    quotes: tuple[Quote, ...]
    uncached: tuple[Offer, ...]
    unpriced: tuple[int, ...]

    @property
    def currency(self) -> str:
        """What amounts are in."""
        return self.prices.file.currency

    def of(self, place: int) -> list[Quote]:
        """List the quotes of one strategy."""
        return [quote for quote in self.quotes if quote.place == place]

    def cheapest(self, places: Sequence[int]) -> Quote | None:
        """Return the quote of the least total among those of some strategies; None where none has one."""
        return next((quote for quote in self.quotes if quote.place in places and quote.total is not None), None)

    def points(self, tuned: Sequence[int], prompted: Sequence[int]) -> Iterator[Point]:
        """Compare each offer of some tuned strategies with each of some prompted ones."""
        for quote in (quote for place in tuned for quote in self.of(place)):
            for rival in (rival for place in prompted for rival in self.of(place)):
                yield self.point(quote, rival)

    def point(self, tuned: Quote, prompted: Quote) -> Point:
        """Compare a tuned offer with a prompted one."""
        number = break_even(tuned.offer, prompted.offer, self.traffic)
        return Point(tuned, prompted, number, None if number is None else math.ceil(number / self.traffic.days))


def quote(prices: Prices, demands: Sequence[Demand | None]) -> Money:
    """Price strategies by all offers that there are for them.

    Args:
        prices: With the traffic.
        demands: Of each strategy; None where it is not known.
    """
    quotes: list[Quote] = []
    uncached: list[Offer] = []
    unpriced: list[int] = []
    for place, demand in enumerate(demands):
        present = [] if demand is None else list(offers(prices.file, demand))
        uncached += [offer for offer in present if offer.why_uncached]
        priced = [offer for offer in present if not offer.why_uncached]
        quotes += [Quote(place, offer, offer.bill(prices.traffic)) for offer in priced]
        unpriced += [] if priced else [place]
    ordered = sorted(quotes, key=lambda quote: math.inf if quote.total is None else quote.total)
    return Money(prices, prices.traffic, tuple(ordered), tuple(uncached), tuple(unpriced))
