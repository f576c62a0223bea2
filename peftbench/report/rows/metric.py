"""How tables name a metric."""

import textwrap

from peftbench.metrics.base import Metric

ACCURACY = "accuracy"
WIDTH = 12
"""Characters beyond which a title goes on in the next line of a table's head."""


def heading(metric: Metric) -> str:
    """Write title and unit: "accuracy %"."""
    return f"{metric.title} {metric.unit}".rstrip()


def wrapped(text: str) -> list[str]:
    """Break a title where a table has little room."""
    return textwrap.wrap(text, WIDTH, break_long_words=False)
