"""Money in words: what it is of, which line decides, from how many queries on tuning costs less, what is uncertain."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from peftbench.costs.prices import machines
from peftbench.costs.prices.offers import Offer
from peftbench.costs.prices.quotes import Money, Point, Quote
from peftbench.costs.prices.schema import Hosting, ModelPrice
from peftbench.report.evidence.money import PricedRows
from peftbench.report.notes.break_even import queries
from peftbench.report.rows import names, units

LITTLE = 1e-4
"""Smaller shares are not told apart."""
OLD_DAYS = 90
"""Prices that are older are remarked on."""


def title(money: Money) -> str:
    """Write what is priced."""
    traffic = money.traffic
    a_day = f"{traffic.queries_per_day:,.4g}" if traffic.queries_per_day < 100 else f"{traffic.queries_per_day:,.0f}"
    number = f"{traffic.num_queries:,} queries, {a_day} a day over {_days(money)}"
    return f"Money in {money.currency}, {number}; prices of {money.prices.name}"


def amount(money: Money, value: float | None) -> str:
    """Write an amount with its currency."""
    return f"{units.money(value)} {money.currency}" if value is not None else units.ABSENT


def quoted(money: Money, quote: Quote) -> str:
    """Write what an offer comes to: "1,053 USD, gpt-4.1-mini; shots cached"."""
    return f"{amount(money, quote.total)}, {quote.offer.title}"


def hosting(money: Money) -> Iterator[str]:
    """Write of what is tuned and hosted how much of the money that is: the line that decides."""
    lines: dict[str, Quote] = {}
    for quote in money.quotes:
        if quote.is_tuned and quote.offer.is_hosted:
            lines.setdefault(quote.offer.server.name, quote)
    for name, quote in lines.items():
        hosted, trained = quote.bill.of("hosting"), quote.bill.of("training")
        text = f"hosting: keeping '{name}' up for {_days(money)} costs {amount(money, hosted)}"
        if hosted and trained is not None:
            share = trained / (hosted + trained)
            part = units.fraction(share) if share >= LITTLE else f"less than {units.fraction(LITTLE)}"
            text += f", training {amount(money, trained)}, {part} of the two together"
        yield text + "; it is paid whether anybody asks or not"


def point(money: Money, point: Point, tuned: str, prompted: str) -> str:
    """Write from how many queries on a tuned offer costs no more than a prompted one.

    Args:
        money: That it is of.
        point: The two offers.
        tuned: Name of the tuned strategy.
        prompted: Name of the prompted one.
    """
    first, second = f"{tuned} ({point.tuned.offer.title})", f"{prompted} ({point.prompted.offer.title})"
    unknown = [quote.bill.total.reason for quote in (point.tuned, point.prompted) if quote.total is None]
    if unknown:
        return f"{first} beside {second}: not known, {unknown[0]}"
    if point.queries is None:
        return f"{first} costs more than {second} for any number of queries"
    number = f"{queries(point.queries)} in {_days(money)} ({point.queries_per_day:,} a day)"
    return f"{first} costs no more than {second} from {number} on"


def remarks(money: Money, today: date | None = None) -> Iterator[str]:
    """Write what the amounts must not be read without.

    Args:
        money: Amounts and prices.
        today: From which the age of prices counts; None for today.
    """
    yield from money.prices.remarks
    used = {id(quote.offer.server): quote.offer for quote in money.quotes}.values()
    models = [offer.server for offer in used if isinstance(offer.server, ModelPrice)]
    yield from _ages(money, today or date.today())
    yield from _uncached(money.uncached)
    yield from _dear_caches(money)
    names = ", ".join(f"'{model.name}'" for model in models if model.tokens_per_our_token is None)
    if names:
        yield f"taken to bill one token for one of ours, as nobody measured tokens_per_our_token: {names}"
    yield from _capacities(money)
    absent = dict.fromkeys(quote.bill.total.reason for quote in money.quotes if quote.bill.total.reason)
    yield from (f"no total: {reason}" for reason in absent)


def findings(priced: PricedRows) -> Iterator[str]:
    """Write what follows from the money of rows, and what it must not be read without."""
    yield from decisive(priced)
    yield from doubts(priced)


def decisive(priced: PricedRows) -> Iterator[str]:
    """Write on which line of the bills a decision hangs, and on how many queries: of each tuned row the first point."""
    yield from hosting(priced.money)
    first = {at.tuned.place: at for at in reversed(priced.points)}
    for at in reversed(first.values()):
        yield point(priced.money, at, names.full(priced.row(at.tuned)), names.full(priced.row(at.prompted)))


def doubts(priced: PricedRows) -> Iterator[str]:
    """Write what the money of rows must not be read without."""
    servers = [quote.offer.server.name for quote in priced.money.quotes if not quote.offer.is_hosted]
    models = ", ".join(dict.fromkeys(row.model for row in priced.rows))
    foreign = ", ".join(f"'{name}'" for name in dict.fromkeys(servers) if name not in models)
    if foreign:
        yield f"prompts are priced as if they were sent to {foreign}; scores are those of {models} and not of these"
    if priced.money.unpriced:
        rows = "; ".join(names.full(priced.rows[place]) for place in priced.money.unpriced)
        yield f"without a price: {rows}"
    yield from remarks(priced.money)


def cheapest(priced: PricedRows, places: Sequence[int]) -> str:
    """Write which of some rows costs the least money."""
    best = priced.money.cheapest(places)
    if best is None:
        return "Cheapest in money: none of these has a price."
    return f"Cheapest in money: {names.full(priced.row(best))} ({quoted(priced.money, best)})."


def pair(priced: PricedRows) -> str:
    """Write what a prompted and a tuned row cost in money at their cheapest."""
    money = priced.money
    best = [money.cheapest([place]) for place in range(len(priced.rows))]
    texts = [
        f"{names.full(row)} has no price"
        if quote is None
        else f"{names.full(row)} costs {amount(money, quote.total)} ({quote.offer.title})"
        for row, quote in zip(priced.rows, best, strict=True)
    ]
    hosted = next((quote.bill.of("hosting") for quote in best if quote and quote.is_tuned), None)
    share = f", of which {amount(money, hosted)} is hosting" if hosted else ""
    return f"In money, for {queries(money.traffic.num_queries)} in {_days(money)}: {'; '.join(texts)}{share}."


def conventions(money: Money) -> Iterator[str]:
    """Write how the amounts were had."""
    yield (
        f"money, kind priced, {money.currency}: queries x tokens x price; an answer is as long as the choices in the "
        "mean; shots are cached in whole steps, and not below the floor; queries come evenly"
    )
    for source in dict.fromkeys(text for quote in money.quotes for text in quote.bill.dated):
        yield f"price of {source}"


def _ages(money: Money, today: date) -> Iterator[str]:
    file = money.prices.file
    dated = [(entry.name, entry.as_of) for entry in file.model]
    dated += [(entry.name, entry.as_of) for entry in file.hosting]
    dated += [(entry.title, entry.as_of) for entry in file.training if entry.on is None]
    for name, day in dated:
        if day is None:
            yield f"'{name}': its source has no date for its prices; see the provider's page"
        elif (today - day).days > OLD_DAYS:
            yield f"prices of '{name}' are of {day}, {(today - day).days} days ago: look again"


def _uncached(offers: Iterable[Offer]) -> Iterator[str]:
    """Write why shots are not cached, once for each model: of several shots the longest that are too short."""
    by_model: dict[str, list[Offer]] = {}
    for offer in offers:
        by_model.setdefault(offer.server.name, []).append(offer)
    for of_model in by_model.values():
        longest = max(of_model, key=lambda offer: offer.demand.shot_tokens / offer.demand.num_prompts)
        yield f"not cached: {longest.why_uncached}"


def _dear_caches(money: Money) -> Iterator[str]:
    """Write where a cache costs more than it saves."""
    for quote in money.quotes:
        if quote.offer.is_cached and isinstance(quote.offer.server, ModelPrice) and quote.total is not None:
            twins = [twin for twin in money.of(quote.place) if twin.offer.server is quote.offer.server]
            plain = next((twin.total for twin in twins if not twin.offer.is_cached), None)
            if plain is not None and quote.total > plain:
                yield f"'{quote.offer.server.name}': caching costs more than it saves here, as too few prompts find it"
                return


def _capacities(money: Money) -> Iterator[str]:
    """Write for machines how many answer the queries, or that nobody knows."""
    by_host: dict[str, list[tuple[int, bool]]] = {}
    for quote in money.quotes:
        host, demand = quote.offer.server, quote.offer.demand
        if isinstance(host, Hosting):
            is_known = machines.capacity(host, demand, money.traffic) is not None
            by_host.setdefault(host.name, []).append((machines.num_machines(host, demand, money.traffic), is_known))
    for name, numbers in by_host.items():
        most = max(number for number, _ in numbers)
        if not all(is_known for _, is_known in numbers):
            yield f"one '{name}' is taken to answer all queries: {machines.UNMEASURED.format(name)}"
        elif most > 1:
            yield f"up to {most:,} of '{name}' answer so many queries, at its sustained_flops and come evenly"


def _days(money: Money) -> str:
    return f"{money.traffic.days:,} day{'s' * (money.traffic.days > 1)}"
