"""How tables name a metric."""

import textwrap

from peftbench import registry
from peftbench.metrics.base import Scale

ACCURACY = "accuracy"
WIDTH = 12
"""Characters beyond which a title goes on in the next line of a table's head."""


def heading(metric: Scale) -> str:
    """Write title and unit: "accuracy %"."""
    return f"{metric.title} {metric.unit}".rstrip()


def has_chance(metric: Scale) -> bool:
    """Whether a metric is of choices, which can be guessed; of written answers `chance` is what empty ones have."""
    return metric.name in registry.METRICS


def has_accuracy_beside(metric: Scale) -> bool:
    """Whether a metric is of choices and another one than accuracy, which then stands beside it."""
    return has_chance(metric) and metric.name != ACCURACY


def hundredths(score: float | None, metric: Scale) -> float | None:
    """Read a score as people type it, into hundredths of what tables show.

    0.6 and 60 are the same share; a TER of 0.6 is as tables show it.
    """
    if score is None:
        return None
    is_share = metric.difference_unit == "points" and score <= 1
    return score if is_share else score / 100


def wrapped(text: str) -> list[str]:
    """Break a title where a table has little room."""
    return textwrap.wrap(text, WIDTH, break_long_words=False)
