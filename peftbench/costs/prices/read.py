"""Prices from where the user says: a file, or the package genai-prices."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from peftbench.costs.prices import genai
from peftbench.costs.prices.schema import PriceFile, Traffic
from peftbench.errors import CostError
from peftbench.spec import values
from peftbench.spec.settings import checked

HINT = "docs/money.md has the fields; examples/prices-api-and-gpu.toml is a file to copy from"


@dataclass(frozen=True)
class Prices:
    """Prices as they were given.

    Args:
        name: The file, or genai:MODEL.
        remarks: What they must not be read without.
    """

    name: str
    file: PriceFile
    remarks: tuple[str, ...] = ()

    @property
    def traffic(self) -> Traffic:
        """The queries that are priced."""
        return self.file.workload

    def of(self, num_queries: int | None) -> "Prices":
        """Return the prices of another number of queries, over the same days; None for the file's own."""
        if num_queries is None:
            return self
        return replace(self, file=self.file.model_copy(update={"workload": self.traffic.of(num_queries)}))


def read(name: str, num_queries: int | None = None) -> Prices:
    """Read prices.

    Args:
        name: A file's path, or genai:MODEL.
        num_queries: That are priced; None for those of the file's [workload].

    Raises:
        CostError: The file is missing, is no TOML, or has faults; all faults are listed at once. Or genai-prices is
            not installed, or does not have the model.
    """
    if not name.startswith(genai.PREFIX):
        return Prices(name, _of_file(Path(name))).of(num_queries)
    if num_queries is None:
        hint = f"--queries N, over {genai.DAYS} days, where a command has it; or a price file with its [workload]"
        raise CostError(f"'{name}' says nothing of how many queries come", hint=hint)
    model, remarks = genai.price(name.removeprefix(genai.PREFIX))
    traffic = Traffic(queries_per_day=num_queries / genai.DAYS, days=genai.DAYS, cache_hit_rate=1.0)
    return Prices(name, PriceFile(currency="USD", model=(model,), workload=traffic), tuple(remarks))


def _of_file(path: Path) -> PriceFile:
    try:
        table = values.toml_file(path)
    except OSError as error:
        raise CostError(f"cannot read prices '{path}': {error.strerror}", hint=HINT) from None
    except ValueError as error:  # no TOML, no UTF-8, or a value beyond the limits
        raise CostError(f"prices '{path}' are no valid TOML: {error}", hint=HINT) from None
    try:
        return checked(PriceFile, table, f"prices '{path}'", CostError)
    except CostError as error:
        raise CostError(error.message, hint=_hint(table)) from None


def _hint(table: dict[str, Any]) -> str:
    """Name the fields of the first table that has an unknown one; else where the fields are told."""
    try:
        PriceFile.model_validate(table)
    except ValidationError as faults:
        unknown = [fault["loc"] for fault in faults.errors() if fault["type"] == "extra_forbidden"]
        if unknown:
            *place, name = unknown[0]
            fields = _fields(place)
            near = difflib.get_close_matches(str(name), fields, n=1)
            where = f"fields of {place[0]}" if place else "fields"
            return (f"did you mean '{near[0]}'? " if near else "") + f"{where}: {', '.join(fields)}"
    return HINT


def _fields(place: Sequence[int | str]) -> list[str]:
    """List the fields of a table, as a file has them."""
    schema: type[BaseModel] = PriceFile
    for name in place:
        if isinstance(name, str):
            annotation = schema.model_fields[name].annotation
            kinds = [annotation, *get_args(annotation)]
            schema = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return [field.alias or name for name, field in schema.model_fields.items()]
