"""The prices that a user writes: a TOML of models by the token, machines by the hour, training, and the traffic."""

from datetime import date, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from peftbench.spec import limits
from peftbench.spec.settings import Settings

Use = Literal["zero-shot", "icl", "tuned"]
Price = Annotated[float, Field(strict=True, ge=0, le=limits.MAX_PRICE, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, le=limits.MAX_PRICE, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1, le=limits.MAX_NUMBER)]
Name = Annotated[str, Field(min_length=1, max_length=limits.MAX_PRICE_NAME_CHARS)]
Source = Annotated[str, Field(min_length=1)]


def _past(day: date) -> date:
    """Refuse a day that nobody has seen yet; a day more is left for other time zones."""
    if day > date.today() + timedelta(days=1):
        raise ValueError(f"{day} is still to come")
    return day


Day = Annotated[date, Field(strict=True), AfterValidator(_past)]
CACHING = ("cache_write", "cache_min_tokens", "cache_step", "cache_ttl_seconds", "cache_storage_per_million_hour")
WHOLE_MONTH = 730.0
"""Hours, a twelfth of a year's."""


class ModelPrice(Settings):
    """A model that is paid by the token. Prices are per million tokens.

    Args:
        uses: What may be asked of it: `for` in the file.
        source: Where the prices stand.
        as_of: When they stood there; None where the source does not say it, which no file may leave out.
        cached_input: Of tokens that are read from a cache; None where it has none.
        cache_write: Of tokens that are put into the cache; None for the price of input.
        cache_min_tokens: Fewer are never cached.
        cache_step: Whole multiples of so many are cached.
        cache_ttl_seconds: How long they stay; None for as long as it takes.
        cache_storage_per_million_hour: Of keeping a million tokens for an hour.
        tokens_per_our_token: Tokens that it bills for one that we count; None where nobody measured it, taken for 1.
        requests_per_query: 1: the answer is generated; "choices": each choice is sent and scored.
    """

    name: Name
    uses: tuple[Use, ...] = Field(alias="for", min_length=1)
    source: Source
    as_of: Day | None
    input: Price
    output: Price
    cached_input: Price | None = None
    cache_write: Price | None = None
    cache_min_tokens: Annotated[int, Field(strict=True, ge=0, le=limits.MAX_NUMBER)] = 0
    cache_step: Count = 1
    cache_ttl_seconds: Positive | None = None
    cache_storage_per_million_hour: Price = 0.0
    tokens_per_our_token: Positive | None = None
    requests_per_query: Literal[1, "choices"] = 1

    @field_validator("cached_input")
    @classmethod
    def _is_no_dearer(cls, cached: float | None, info: ValidationInfo) -> float | None:
        plain = info.data.get("input")
        if cached is not None and plain is not None and cached > plain:
            raise ValueError(f"cached input at {cached:g} is dearer than input at {plain:g}")
        return cached

    @field_validator(*CACHING)
    @classmethod
    def _goes_with_caching(cls, value: Any, info: ValidationInfo) -> Any:
        if info.data.get("cached_input", value) is None:
            raise ValueError("says how it caches, and cached_input, what that costs, is missing")
        return value


class Hosting(Settings):
    """A machine that is paid by the hour, whether it is asked or not.

    Args:
        per_hour: Of one GPU.
        gpus: How many run.
        hours_per_month: How many of a month's 730 hours they are up.
        sustained_flops: FLOPs a second of one GPU in this use, as measured; None where nobody did.
    """

    name: Name
    source: Source
    as_of: Day
    per_hour: Price
    gpus: Count = 1
    hours_per_month: Annotated[float, Field(strict=True, gt=0, le=WHOLE_MONTH)] = WHOLE_MONTH
    sustained_flops: Annotated[float, Field(strict=True, gt=0, le=1e30)] | None = None


class TrainingPrice(Settings):
    """What a training costs: by the token, or as time on a machine.

    Args:
        per_million_tokens: None where it is paid by the hour.
        billed: Which tokens: those of the examples, or as many for each as the longest may have.
        max_length: Of an example, in tokens, for the latter.
        minimum: No training is cheaper.
        on: Name of the machine, which has a source of its own.
        start_seconds: Until it trains: booting, loading weights.
    """

    name: Name | None = None
    source: Source | None = None
    as_of: Day | None = None
    per_million_tokens: Price | None = None
    billed: Literal["tokens x epochs", "rows x max_length"] = "tokens x epochs"
    max_length: Count | None = None
    minimum: Price = 0.0
    on: Name | None = None
    start_seconds: Price = 0.0

    @model_validator(mode="after")
    def _is_by_the_token_or_by_the_hour(self) -> "TrainingPrice":
        if (self.per_million_tokens is None) == (self.on is None):
            raise ValueError("one of per_million_tokens and on, the name of a [[hosting]], says what is paid")
        missing = [name for name in ("name", "source", "as_of") if getattr(self, name) is None]
        if self.on is None and missing:
            raise ValueError(f"{', '.join(missing)} missing: training by the token says where its price stands")
        if (self.billed == "rows x max_length") != (self.max_length is not None):
            raise ValueError('max_length goes with billed = "rows x max_length"')
        return self

    @property
    def title(self) -> str:
        """Its name in a table."""
        return self.name or f"on {self.on}"


class Traffic(Settings):
    """The queries that come, and how often they find the shots in the cache: `[workload]` in the file.

    Args:
        days: Over which they come, evenly.
        cache_hit_rate: Share of the prompts that find them; None where no model caches.
    """

    queries_per_day: Positive
    days: Annotated[int, Field(strict=True, ge=1, le=limits.MAX_DAYS)]
    cache_hit_rate: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None

    @property
    def num_queries(self) -> int:
        """All queries of all days, one at least."""
        return max(1, round(self.queries_per_day * self.days))

    def of(self, num_queries: int) -> "Traffic":
        """Return the traffic of so many queries over the same days."""
        return self.model_copy(update={"queries_per_day": num_queries / self.days})


class PriceFile(Settings):
    """The contents of a price file."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    model: tuple[ModelPrice, ...] = Field((), max_length=limits.MAX_PRICES)
    hosting: tuple[Hosting, ...] = Field((), max_length=limits.MAX_PRICES)
    training: tuple[TrainingPrice, ...] = Field((), max_length=limits.MAX_PRICES)
    workload: Traffic

    @field_validator("model", "hosting", "training")
    @classmethod
    def _names_differ(cls, tables: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [table.title if isinstance(table, TrainingPrice) else table.name for table in tables]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"several are called '{twice[0]}'")
        return tables

    @field_validator("training")
    @classmethod
    def _machines_are_there(cls, training: tuple[TrainingPrice, ...], info: ValidationInfo) -> Any:
        known = [host.name for host in info.data.get("hosting", ())]
        for entry in training:
            if entry.on is not None and "hosting" in info.data and entry.on not in known:
                raise ValueError(f"on = '{entry.on}' is no [[hosting]]; there is {', '.join(known) or 'none'}")
        return training

    @field_validator("workload")
    @classmethod
    def _hits_are_known(cls, workload: Traffic, info: ValidationInfo) -> Traffic:
        caching = [model.name for model in info.data.get("model", ()) if model.cached_input is not None]
        if caching and workload.cache_hit_rate is None:
            raise ValueError(f"cache_hit_rate is missing, and '{caching[0]}' has a price of cached input")
        return workload

    @model_validator(mode="after")
    def _prices_are_there(self) -> "PriceFile":
        if not self.model and not self.hosting:
            raise ValueError("nothing has a price: neither [[model]] nor [[hosting]]")
        return self
