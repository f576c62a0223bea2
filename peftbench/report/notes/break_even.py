"""Break-evens in words."""

from collections.abc import Iterable

from peftbench.report.evidence.break_even import BreakEven
from peftbench.report.rows import names

NEVER = "never"


def sentences(break_evens: Iterable[BreakEven]) -> list[str]:
    """Write break-evens in a line each; of rows that differ in shots and not in what is said of them, in one line."""
    pairs = list(break_evens)
    said: dict[str, set[str]] = {}
    for pair in pairs:
        said.setdefault(_title(pair), set()).add(_sentence(pair, _title(pair)))
    lines = [
        _sentence(pair, _title(pair) if len(said[_title(pair)]) == 1 else names.full(pair.tuned)) for pair in pairs
    ]
    return list(dict.fromkeys(lines))


def _title(break_even: BreakEven) -> str:
    return names.title(break_even.tuned)


def _sentence(break_even: BreakEven, name: str) -> str:
    paid = NEVER if break_even.plain is None else f"after {queries(break_even.plain)}"
    text = f"{name} has paid for its training {paid} against {rival(break_even)}"
    if break_even.has_cached:
        text += f", {queries(break_even.cached)} where the shots' keys and values are cached"
    return text


def rival(break_even: BreakEven) -> str:
    """Name the ICL row of a break-even."""
    return f"{names.shots(break_even.icl)}-shot ICL on {break_even.icl.model}"


def queries(number: int | None) -> str:
    """Write a number of queries; None is never."""
    return NEVER if number is None else f"{number:,} quer{'y' if number == 1 else 'ies'}"
