"""What is paid by the token: prompts, with and without a cache of the shots, and answers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from peftbench.costs.prices.bill import Priced
from peftbench.costs.prices.demand import Demand
from peftbench.costs.prices.schema import ModelPrice, Traffic

SECONDS_OF_A_DAY = 86_400
MILLION = 1e6


@dataclass(frozen=True)
class Requests:
    """The requests that a query makes of a model, in the tokens that it bills.

    Args:
        number: For each query.
        shots: Tokens of the shots in one.
        cached: How many of these can be cached.
        rest: Tokens of the query in one.
        answer: Tokens that it generates.
    """

    number: float
    shots: float
    cached: int
    rest: float
    answer: float

    @property
    def is_cached(self) -> bool:
        """Whether anything of it can be cached."""
        return self.cached > 0


def requests(model: ModelPrice, demand: Demand) -> Requests:
    """Return what a query asks of a model.

    One request generates the answer; or each choice is sent in a request that generates one token, as `echo` does.

    Args:
        model: With its own count of tokens.
        demand: Of a query.
    """
    ratio, prompts = model.tokens_per_our_token or 1.0, demand.num_prompts
    shots, context = (ratio * tokens / prompts for tokens in (demand.shot_tokens, demand.input_tokens))
    cached = _cacheable(model, shots) if demand.is_shared else 0
    if model.requests_per_query == "choices":
        choice = ratio * demand.answer_tokens / prompts
        return Requests(prompts * demand.num_choices, shots, cached, context + choice, 1)
    return Requests(prompts, shots, cached, context, ratio * demand.answer_tokens / prompts)


def _cacheable(model: ModelPrice, shots: float) -> int:
    """Return the tokens that are cached: whole steps, and none below the floor."""
    whole = math.floor(shots / model.cache_step) * model.cache_step
    return whole if whole >= model.cache_min_tokens else 0


def writes(model: ModelPrice, traffic: Traffic, num_requests: float) -> float:
    """Count how often the shots are put into the cache.

    max(misses, min(requests, days x 86,400 / ttl)): what nobody asks for longer than the ttl is gone, so that where
    requests are rarer than that each of them writes; and what is asked for is written again when its time is over.

    Args:
        model: With the time that it keeps them.
        traffic: With the share of requests that find them.
        num_requests: Over all days.
    """
    misses = num_requests * (1 - (traffic.cache_hit_rate if traffic.cache_hit_rate is not None else 1.0))
    ttl = model.cache_ttl_seconds
    spans = 1 if ttl is None else math.ceil(traffic.days * SECONDS_OF_A_DAY / ttl)
    return max(misses, min(num_requests, spans))


def items(
    model: ModelPrice, demand: Demand, traffic: Traffic, currency: str, *, is_cached: bool = False
) -> Iterator[Priced]:
    """Price all queries, item by item.

    N [(L - c) p_in + o p_out] + (N - W) c p_cached + W c p_write + storage;  without a cache c = 0, N requests of L
    tokens with answers of o, W writes of c tokens

    Args:
        model: Its prices.
        demand: Of a query.
        traffic: Queries, days and hits.
        currency: Of the prices.
        is_cached: Whether the shots are read from the cache.
    """
    request = requests(model, demand)
    number, cached = traffic.num_queries * request.number, request.cached if is_cached else 0
    plain = request.shots + request.rest - cached

    def item(name: str, times: float, tokens: float, price: float) -> Priced:
        formula = f"{times:,.10g} x {tokens:,.10g} tokens x {price:,.10g} per million"
        return Priced(name, times * tokens * price / MILLION, currency, formula)

    yield item("input", number, plain, model.input)
    if cached and model.cached_input is not None:
        written = writes(model, traffic, number)
        yield item("cached_input", number - written, cached, model.cached_input)
        yield item("cache_writes", written, cached, model.input if model.cache_write is None else model.cache_write)
        if model.cache_storage_per_million_hour:
            yield item("cache_storage", 24 * traffic.days, cached, model.cache_storage_per_million_hour)
    yield item("output", number, request.answer, model.output)


def kinks(model: ModelPrice, demand: Demand, traffic: Traffic) -> list[float]:
    """List the numbers of queries at which the price of the next one changes: where the writes of a cache do."""
    ttl = model.cache_ttl_seconds
    spans = 1 if ttl is None else math.ceil(traffic.days * SECONDS_OF_A_DAY / ttl)
    first = spans / requests(model, demand).number
    hit_rate = traffic.cache_hit_rate if traffic.cache_hit_rate is not None else 1.0
    return [first, first / (1 - hit_rate)] if hit_rate < 1 else [first]
