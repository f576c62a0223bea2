"""Macro F1: the mean over classes of the harmonic mean of precision and recall.

    F1_c = 2 TP_c / (predicted as c + labelled c)        macro F1 = mean_c F1_c

The mean is over the classes that are labelled or predicted at least once, as scikit-learn's `f1_score` with
`average="macro"` has it, with which RAFT (2109.14076) and SuperGLUE's CB (1905.00537) are scored.
"""

from collections.abc import Sequence

import numpy as np

from peftbench.metrics.base import Array, Metric


def value(counts: Array) -> Array:
    """Compute macro F1, 0 to 1, from (..., labelled, predicted) counts."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., classes)
    either = counts.sum(-1) + counts.sum(-2)
    f1 = np.divide(2 * right, either, out=np.zeros_like(either), where=either > 0)
    mean: Array = f1.sum(-1) / (either > 0).sum(-1)
    return mean


def chance(labels: Sequence[int], num_choices: Sequence[int]) -> float:
    """Compute macro F1 of guessing, from expected counts: F1_c = 2 p_c q / (p_c + q), q = 1 / number of choices.

    p_c is the share of examples labelled c. That is the value which guesses of many examples come to.
    """
    size = max(num_choices)
    shares = [labels.count(label) / len(labels) for label in range(size)]
    guess = 1 / size
    return sum(2 * share * guess / (share + guess) for share in shares) / size


METRIC = Metric("macro_f1", "macro F1", "%", True, value, chance)
