"""How large an operation of a template could become, by the sizes of what it takes: it is refused before it begins."""

import re
from collections.abc import Mapping
from typing import Any

from peftbench.spec import limits

WIDTH = re.compile(r"\d+")
FORMAT_FIELD = re.compile(r"%(?:\([^)]*\))?[-+ #0-9.*]*|\{[^}]*\}")
NESTED_FIELD = re.compile(r"\{[^{}]+\{")


class BudgetError(Exception):
    """A rendering that takes too many steps, or would make something too large."""


def size(value: Any) -> int:
    """Count characters and items, of lists in lists as well; a number has none."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return size([*value.keys(), *value.values()])
    if isinstance(value, list | tuple | set | frozenset):
        return len(value) + sum(map(size, value))
    return len(value) if isinstance(value, range) else 0


def times(value: Any) -> int:
    """Return how often a number repeats what is multiplied by it; what is no whole number does not."""
    return abs(value) if isinstance(value, int) else 0


def refuse_work(*chars: int) -> None:
    """Refuse what could make so many characters; raises BudgetError, as the others do."""
    if max(chars) > limits.MAX_WORK:
        raise BudgetError(f"it would make {max(chars):.1e} characters or more")


def refuse_power(base: Any, exponent: Any) -> None:
    """Refuse powers of whole numbers that have many bits."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > limits.MAX_POWER_BITS:
        raise BudgetError(f"a power of more than {limits.MAX_POWER_BITS:,} bits")


def refuse_format(text: str, values: Any) -> None:
    """Refuse widths that are large, or come from a value."""
    fields = "".join(FORMAT_FIELD.findall(text.replace("{{", "").replace("}}", "")))
    widths = sum(int(digits[:18]) for digits in WIDTH.findall(fields))
    from_value = "*" in fields or NESTED_FIELD.search(text) is not None
    if widths > limits.MAX_ARGUMENT or from_value:
        raise BudgetError(f"a format with {'a width that is a value' if from_value else f'widths of {widths:,}'}")
    refuse_work((1 + len(text)) * (1 + size(values)))
