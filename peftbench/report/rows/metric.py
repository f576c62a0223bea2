"""Which metric a record's scores are of, and how tables name it."""

import textwrap

from peftbench.metrics.base import Metric
from peftbench.store.record import Record

ACCURACY = "accuracy"
WIDTH = 12
"""Characters beyond which a title goes on in the next line of a table's head."""


def name(record: Record) -> str:
    """Return the metric's name in the registry.

    Records that were made before metrics were computed hold accuracies, whatever their task named.
    """
    return ACCURACY if any(result.values is None for result in record.results) else record.task.metric


def heading(metric: Metric) -> str:
    """Write title and unit: "accuracy %"."""
    return f"{metric.title} {metric.unit}".rstrip()


def wrapped(text: str) -> list[str]:
    """Break a title where a table has little room."""
    return textwrap.wrap(text, WIDTH, break_long_words=False)
