"""Accuracy: the share of examples whose predicted choice is the right one.

accuracy = 1/n sum_i [prediction_i = label_i]
"""

import statistics
from collections.abc import Sequence

import numpy as np

from peftbench.metrics.base import Array, Metric


def value(counts: Array) -> Array:
    """Compute the share of right predictions, 0 to 1, from (..., choices, choices) counts."""
    share: Array = np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1))
    return share


def chance(labels: Sequence[int], num_choices: Sequence[int]) -> float:
    """Compute the expected accuracy of guessing: the mean of 1 / number of choices."""
    return statistics.fmean(1 / count for count in num_choices)


METRIC = Metric("accuracy", "accuracy", "%", True, value, chance)
