"""How numbers are written in tables: k, M, G for counts, kB, MB, GB (powers of ten) for bytes, 1.1e12 for FLOPs."""

from collections.abc import Sequence
from typing import NamedTuple

PREFIXES = ("", "k", "M", "G", "T", "P")
ABSENT = "n/a"
MARK = "~"
"""Stands before a number that is estimated by the paper's rule and not counted."""


class Range(NamedTuple):
    """The lowest and the highest of some whole numbers."""

    low: int
    high: int

    @classmethod
    def of(cls, values: Sequence[int]) -> "Range":
        """Return the range of at least one number."""
        return cls(min(values), max(values))


def flops(value: float | None, decimals: int = 1) -> str:
    """Write FLOPs as the paper does: 1.1e12; exactly zero is 0."""
    if value is None:
        return ABSENT
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def number(value: float | None) -> str:
    """Write a count with three digits and a prefix: 540672 is 541k."""
    return ABSENT if value is None else "".join(_scaled(value))


def count(value: int | None) -> str:
    """Write a count in full: 2,400."""
    return f"{value:,}" if value else ABSENT


def size(value: float | None) -> str:
    """Write bytes with three digits; MB is 10^6 bytes."""
    if value is None:
        return ABSENT
    digits, prefix = _scaled(value)
    return f"{digits} {prefix}B"


def money(value: float | None) -> str:
    """Write an amount of money: 1,648 from a thousand on, 458.00, and of less than a cent two digits, 0.0047."""
    if value is None:
        return ABSENT
    if value == 0:
        return "0"
    if value < 0.01:
        return f"{value:.2g}"
    return f"{value:,.2f}" if value < 1000 else f"{value:,.0f}"


def percent(share: float, decimals: int = 1) -> str:
    """Write a hundred times a share, or another score, without a unit: 0.724 is 72.4."""
    text = f"{100 * share:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0 else text


def points(share: float, decimals: int = 1) -> str:
    """Write a difference of shares in percentage points, or of other scores: 0.123 is +12.3."""
    text = f"{100 * share:+.{decimals}f}"
    return text.lstrip("+-") if float(text) == 0 else text


def probability(p_value: float) -> str:
    """Write a p-value with four decimals; 10,000 draws give no more."""
    return "<0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def fraction(share: float) -> str:
    """Write a small share with two digits: 0.00017 is 0.017%."""
    return f"{100 * share:.2g}%" if share < 0.1 else f"{100 * share:.0f}%"


def span(values: Sequence[int]) -> str:
    """Write whole numbers as one where they are equal and as lowest-highest where not: 3-5."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}-{high}"


def _scaled(value: float) -> tuple[str, str]:
    power = 0
    # 999.5 would print as 1e+03 with three digits, so it moves on to the next prefix.
    while abs(value) >= 999.5 and power < len(PREFIXES) - 1:
        value, power = value / 1000, power + 1
    return f"{value:.3g}", PREFIXES[power]
