"""What a benchmark runs: what was typed, a few of its cases with --quick, or all of them."""

import sys
from collections.abc import Iterable

QUICK = "--quick"
"""Every benchmark then ends within five minutes, on two cores that do other work, too."""


def is_quick() -> bool:
    """Whether --quick was typed."""
    return QUICK in sys.argv


def chosen(cases: Iterable[str], quick: Iterable[str]) -> list[str]:
    """Return the names of the cases to run."""
    typed = [word for word in sys.argv[1:] if word != QUICK]
    return typed or list(quick if is_quick() else cases)
