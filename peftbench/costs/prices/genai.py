"""A model's prices from the package genai-prices, where it is installed. It looks nothing up in the network."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

from peftbench.costs.prices.schema import ModelPrice
from peftbench.errors import CostError
from peftbench.spec.settings import checked

PREFIX = "genai:"
DAYS = 30
"""Over which queries come: it says nothing of traffic."""
INPUT, OUTPUT, CACHED, WRITE = "input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"
DAY = re.compile(r"\b(20\d\d-[01]\d-[0-3]\d)\b")


def price(name: str) -> tuple[ModelPrice, list[str]]:
    """Return a model's prices, in USD, and what they leave out.

    Args:
        name: As the package finds models: "claude-haiku-4-5".

    Raises:
        CostError: The package is missing, does not know the model, or has no price of its input or output.
    """
    try:
        from genai_prices import __version__, data_snapshot
    except ImportError:
        hint = "the extra `prices` brings it: pip install 'peftbench[prices]'"
        raise CostError("--prices genai:MODEL reads the package genai-prices, which is not installed", hint) from None
    try:
        provider, model = data_snapshot.get_snapshot().find_provider_model(name, None, None, None)
    except LookupError:
        hint = "the provider's own name of a model, such as genai:claude-haiku-4-5"
        raise CostError(f"genai-prices {__version__} has no model '{name}'", hint) from None
    listed = vars(model.get_prices(datetime.now(UTC)))
    amounts = {key: _amount(listed.get(key)) for key in (INPUT, OUTPUT, CACHED, WRITE)}
    if amounts[INPUT] is None or amounts[OUTPUT] is None:
        hint = "a model that is asked with text and answers with text"
        raise CostError(f"genai-prices {__version__} has no price of '{name}' for input and output tokens", hint)
    comments = " ".join(filter(None, (model.price_comments, provider.price_comments)))
    table = {
        "name": model.id[:40],
        "for": ("zero-shot", "icl"),
        "source": f"genai-prices {__version__}, {provider.id}/{model.id}",
        "as_of": _newest(comments),
        "input": amounts[INPUT],
        "output": amounts[OUTPUT],
        "cached_input": amounts[CACHED],
        "cache_write": amounts[WRITE],
    }
    if amounts[CACHED] is None:
        del table["cached_input"], table["cache_write"]
    listed_price = checked(ModelPrice, table, f"genai-prices {__version__}, '{name}'", CostError)
    return listed_price, list(_remarks(listed, is_cached=amounts[CACHED] is not None))


def _amount(listed: Any) -> float | None:
    """Return a price per million tokens; of one with tiers that of the shortest prompts."""
    return None if listed is None else float(getattr(listed, "base", listed))


def _newest(comments: str) -> date | None:
    """Return the newest day until now that comments name, by which somebody looked; None where they name none."""
    days = [date.fromisoformat(text) for text in DAY.findall(comments) if _is_day(text)]
    return max((day for day in days if day <= date.today()), default=None)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _remarks(listed: dict[str, Any], *, is_cached: bool) -> Iterator[str]:
    yield f"genai-prices says nothing of traffic: queries come evenly over {DAYS} days"
    if is_cached:
        yield "genai-prices has no floor, step or lifetime of caching: every prompt but the first is taken to be a hit"
    tiers = getattr(listed.get(INPUT), "tiers", ())
    if tiers:
        yield f"prompts of {tiers[0].start:,} tokens and more cost more than is counted here"
