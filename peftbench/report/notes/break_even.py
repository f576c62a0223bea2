"""Break-evens in words."""

from peftbench.report.evidence.break_even import BreakEven
from peftbench.report.rows import names

NEVER = "never"


def sentence(break_even: BreakEven) -> str:
    """Write a break-even in one line."""
    paid = NEVER if break_even.plain is None else f"after {queries(break_even.plain)}"
    text = f"{names.title(break_even.tuned)} has paid for its training {paid} against {rival(break_even)}"
    if break_even.has_cached:
        text += f", {queries(break_even.cached)} where the shots' keys and values are cached"
    return text


def rival(break_even: BreakEven) -> str:
    """Name the ICL row of a break-even."""
    return f"{names.shots(break_even.icl)}-shot ICL on {break_even.icl.model}"


def queries(number: int | None) -> str:
    """Write a number of queries; None is never."""
    return NEVER if number is None else f"{number:,} quer{'y' if number == 1 else 'ies'}"
