"""Amounts of money, each with its formula, and their sum."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Priced:
    """An amount of money; absent with a reason where it could not be had.

    Args:
        name: What is paid: "input", "cached_input", "cache_writes", "cache_storage", "output", "training", "hosting".
        convention: Its formula, with the numbers that went in.
        reason: Why `value` is absent.
    """

    name: str
    value: float | None
    currency: str
    convention: str
    reason: str | None = None
    kind: Literal["priced"] = "priced"


@dataclass(frozen=True)
class Bill:
    """What is paid for a strategy, item by item.

    Args:
        dated: Where its prices stand, and since when.
    """

    items: tuple[Priced, ...]
    currency: str
    dated: tuple[str, ...]

    def of(self, *names: str) -> float | None:
        """Return the sum of the items of these names; None where one of them is absent."""
        return _sum(item.value for item in self.items if item.name in names)

    @property
    def total(self) -> Priced:
        """The sum of all items, with where their prices stand."""
        value = _sum(item.value for item in self.items)
        reasons = dict.fromkeys(item.reason for item in self.items if item.reason)
        convention = " + ".join(item.name for item in self.items) + "; prices: " + "; ".join(self.dated)
        return Priced("total", value, self.currency, convention, "; ".join(reasons) or None if value is None else None)


def _sum(values: Iterable[float | None]) -> float | None:
    present = list(values)
    known = [value for value in present if value is not None]
    return sum(known) if len(known) == len(present) else None
