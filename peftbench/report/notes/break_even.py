"""Break-evens in words."""

from collections.abc import Iterable, Sequence

from peftbench.report.evidence.break_even import BreakEven
from peftbench.report.rows import names, units

NEVER = "never"


def sentences(break_evens: Iterable[BreakEven]) -> list[str]:
    """Write break-evens in a line each; rows that differ in their shots alone share one, with ranges."""
    groups: dict[tuple[str, str], list[BreakEven]] = {}
    for pair in break_evens:
        groups.setdefault((names.title(pair.tuned), rival(pair)), []).append(pair)
    return [_sentence(*key, pairs) for key, pairs in groups.items()]


def _sentence(title: str, prompted: str, pairs: Sequence[BreakEven]) -> str:
    plain, cached = _span([pair.plain for pair in pairs]), _span([pair.cached for pair in pairs])
    shots = sorted({number for pair in pairs for number in pair.tuned.shots})
    is_range = len({(pair.plain, pair.cached) for pair in pairs}) > 1
    name = f"{title}, {units.span(shots)} shots," if is_range else title
    after = plain if plain == NEVER else f"after {plain}"
    text = f"{name} has paid for its training {after} against {prompted}"
    if pairs[0].has_cached:
        text += f", {cached} where the shots' keys and values are cached"
    return text


def _span(numbers: Sequence[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return NEVER
    least, most = min(known), max(known)
    text = queries(most) if least == most else f"{least:,} to {queries(most)}"
    return text if len(known) == len(numbers) else f"{text} or {NEVER}"


def rival(break_even: BreakEven) -> str:
    """Name the ICL row of a break-even."""
    return f"{names.shots(break_even.icl)}-shot ICL on {break_even.icl.model}"


def queries(number: int | None) -> str:
    """Write a number of queries; None is never."""
    return NEVER if number is None else f"{number:,} quer{'y' if number == 1 else 'ies'}"
