"""What is paid by the hour, and what training costs."""

import math

from peftbench.costs.prices.bill import Priced
from peftbench.costs.prices.demand import Demand
from peftbench.costs.prices.schema import WHOLE_MONTH, Hosting, Traffic, TrainingPrice

HOUR = 3_600
UNMEASURED = "nobody measured the sustained_flops of '{}'"


def hours(host: Hosting, traffic: Traffic) -> float:
    """Return how many hours it is up over all days."""
    return 24 * traffic.days * host.hours_per_month / WHOLE_MONTH


def capacity(host: Hosting, demand: Demand, traffic: Traffic) -> float | None:
    """Return how many queries one machine answers while it is up, at its sustained rate.

    Shots are read from a cache where they can be. None where its rate or a query's FLOPs are not known.
    """
    flops = demand.query_flops if demand.cached_query_flops is None else demand.cached_query_flops
    if host.sustained_flops is None or not flops:
        return None
    return host.sustained_flops * host.gpus * hours(host, traffic) * HOUR / flops


def num_machines(host: Hosting, demand: Demand, traffic: Traffic) -> int:
    """Return how many machines all queries take, come evenly; one where the capacity is unknown."""
    most = capacity(host, demand, traffic)
    return 1 if most is None else max(1, math.ceil(traffic.num_queries / most))


def hosting(host: Hosting, demand: Demand, traffic: Traffic, currency: str) -> Priced:
    """Price the machines that answer all queries."""
    number, up = num_machines(host, demand, traffic), hours(host, traffic)
    machines = f"{number:,} machine{'s' * (number > 1)} of {host.gpus} GPU{'s' * (host.gpus > 1)}"
    formula = f"{machines} x {up:,.10g} hours x {host.per_hour:,.10g} per GPU and hour"
    return Priced("hosting", number * host.gpus * up * host.per_hour, currency, formula)


def training(price: TrainingPrice, host: Hosting | None, demand: Demand, currency: str) -> Priced:
    """Price one training.

    Args:
        price: By the token, or as time on a machine.
        host: That machine; None where it is paid by the token.
        demand: With the examples and FLOPs of training.
        currency: Of the prices.
    """
    return _by_token(price, demand, currency) if host is None else _by_hour(price, host, demand, currency)


def _by_token(price: TrainingPrice, demand: Demand, currency: str) -> Priced:
    """max(minimum, examples x tokens x price), examples over all epochs."""
    assert price.per_million_tokens is not None, "training is priced by the token or on a machine"
    tokens = price.max_length or demand.example_tokens
    formula = f"{{}} examples x {tokens:,.10g} tokens x {price.per_million_tokens:,.10g} per million"
    formula += f", at least {price.minimum:,.10g}" if price.minimum else ""
    number = demand.num_examples
    if number is None:
        return Priced("training", None, currency, formula.format("n"), "how many examples it takes is not known")
    value = max(price.minimum, number * tokens * price.per_million_tokens / 1e6)
    return Priced("training", value, currency, formula.format(f"{number:,.10g}"))


def _by_hour(price: TrainingPrice, host: Hosting, demand: Demand, currency: str) -> Priced:
    """max(minimum, (start + FLOPs / FLOPs a second) x price of the GPUs an hour / 3,600)."""
    per_hour = host.gpus * host.per_hour
    if host.sustained_flops is None or demand.training_flops is None:
        reason = UNMEASURED.format(host.name) if host.sustained_flops is None else "training FLOPs are not known"
        return Priced("training", None, currency, "FLOPs / sustained_flops x per_hour", reason)
    rate = host.gpus * host.sustained_flops
    seconds = price.start_seconds + demand.training_flops / rate
    formula = f"({price.start_seconds:,.10g} s + {demand.training_flops:.4g} FLOPs / {rate:.4g} a second)"
    formula += f" x {per_hour:,.10g} an hour" + (f", at least {price.minimum:,.10g}" if price.minimum else "")
    return Priced("training", max(price.minimum, seconds / HOUR * per_hour), currency, formula)
