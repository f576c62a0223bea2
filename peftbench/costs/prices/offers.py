"""A strategy and prices -> the offers that there are for it, and for how many queries what is tuned is cheaper."""

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from peftbench.costs.prices import machines, tokens
from peftbench.costs.prices.bill import Bill, Priced
from peftbench.costs.prices.demand import Demand
from peftbench.costs.prices.schema import Hosting, ModelPrice, PriceFile, Traffic, TrainingPrice

MOST_QUERIES = 10**15
MANY_MACHINES = 16
"""Up to which a break-even looks at each one."""


@dataclass(frozen=True)
class Offer:
    """One way to pay for a strategy: a model by the token or a machine by the hour, and where it is tuned a training.

    Args:
        server: What answers queries.
        is_cached: Whether the shots are read from a cache: of the model's provider, or on the machine.
        training: None where nothing is trained, or where nothing says what that costs.
        trained_on: The machine of the training; None where it is paid by the token.
    """

    demand: Demand
    server: ModelPrice | Hosting
    currency: str
    is_cached: bool = False
    training: TrainingPrice | None = None
    trained_on: Hosting | None = None

    @property
    def title(self) -> str:
        """Its name in a table: what serves, and what trains."""
        cached, training = "shots cached" if self.is_cached else "", self.training.title if self.training else ""
        return "; ".join(filter(None, (self.server.name, cached, training)))

    @property
    def is_hosted(self) -> bool:
        """Whether it is paid by the hour."""
        return isinstance(self.server, Hosting)

    @property
    def why_uncached(self) -> str | None:
        """The reason why no shots are read from the cache of a model that has one; None where they are."""
        if not self.is_cached or isinstance(self.server, Hosting):
            return None
        request = tokens.requests(self.server, self.demand)
        floor = max(self.server.cache_min_tokens, self.server.cache_step)
        if request.is_cached:
            return None
        if not self.demand.is_shared:
            return "each query has shots of its own, and no two prompts begin alike"
        return f"'{self.server.name}' caches from {floor:,} tokens on, and the shots have {round(request.shots):,}"

    def bill(self, traffic: Traffic) -> Bill:
        """Price it, item by item, for a number of queries."""
        served: tuple[Priced, ...]
        if isinstance(self.server, Hosting):
            served = (machines.hosting(self.server, self.demand, traffic, self.currency),)
        else:
            served = tuple(tokens.items(self.server, self.demand, traffic, self.currency, is_cached=self.is_cached))
        return Bill((*served, *self._training()), self.currency, self._dated())

    def kinks(self, traffic: Traffic) -> list[float]:
        """List the numbers of queries at which the price of the next one may change."""
        if isinstance(self.server, Hosting):
            most = machines.capacity(self.server, self.demand, traffic)
            return [] if most is None else [number * most for number in range(1, MANY_MACHINES)]
        return tokens.kinks(self.server, self.demand, traffic) if self.is_cached else []

    def _training(self) -> Iterator[Priced]:
        if self.training is not None:
            yield machines.training(self.training, self.trained_on, self.demand, self.currency)
        elif self.demand.use == "tuned":
            reason = "no [[training]] says what it costs"
            yield Priced("training", None, self.currency, "as the file says", reason)

    def _dated(self) -> tuple[str, ...]:
        priced = [self.server, self.trained_on or self.training]
        texts = [f"{entry.name}: {entry.source}, as of {entry.as_of or 'no date'}" for entry in priced if entry]
        return tuple(dict.fromkeys(texts))


def offers(prices: PriceFile, demand: Demand) -> Iterator[Offer]:
    """List the ways to pay for a strategy.

    A model that caches has a second one for prompts with shots, a machine caches them where that can be; what is tuned
    has an offer with each training.
    """
    models = [model for model in prices.model if demand.use in model.uses]
    hosts = {host.name: host for host in prices.hosting}
    servers: list[ModelPrice | Hosting] = [*models, *prices.hosting]
    for server in servers:
        if demand.use == "tuned":
            for training in prices.training or (None,):
                on = hosts[training.on] if training and training.on is not None else None
                yield Offer(demand, server, prices.currency, training=training, trained_on=on)
            continue
        is_host = isinstance(server, Hosting)
        yield Offer(demand, server, prices.currency, is_cached=is_host and demand.cached_query_flops is not None)
        if demand.use == "icl" and isinstance(server, ModelPrice) and server.cached_input is not None:
            yield Offer(demand, server, prices.currency, is_cached=True)


def break_even(tuned: Offer, prompted: Offer, traffic: Traffic) -> int | None:
    """Find the first number of queries, over the days of the traffic, for which the tuned offer costs no more.

    Between the numbers at which the price of a query changes both totals are lines, which cross once at most.

    Args:
        tuned: With its training, and its hosting of these days.
        prompted: On the same queries.
        traffic: Whose days and share of hits hold for each number.

    Returns:
        Queries; None where it always costs more, or where an amount is not known.
    """
    if tuned.bill(traffic).total.value is None or prompted.bill(traffic).total.value is None:
        return None

    def is_paid(number: int) -> bool:
        first, second = (offer.bill(traffic.of(number)).total.value for offer in (tuned, prompted))
        return first is not None and second is not None and first <= second

    places = sorted({math.floor(kink) for offer in (tuned, prompted) for kink in offer.kinks(traffic)})
    start = 1
    for end in (*(place for place in places if 1 <= place < MOST_QUERIES), MOST_QUERIES):
        if is_paid(start):
            return start
        if is_paid(end):
            return start + bisect_left(range(start, end + 1), True, key=is_paid)
        start = end + 1
    return None
