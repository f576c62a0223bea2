"""Matthews correlation: how far predictions and labels go together, -1 to 1, 0 for any that ignore the example.

    R = (n sum_c TP_c - sum_c p_c t_c) / sqrt((n^2 - sum_c p_c^2) (n^2 - sum_c t_c^2))

p_c examples are predicted as c, t_c are labelled c, of n. With two classes it is the correlation of the two 0/1
variables (GLUE's CoLA, 1804.07461); with more, Gorodkin's extension (Comput. Biol. Chem. 28, 2004). Where all
predictions, or all labels, are one class, it is 0, as scikit-learn's `matthews_corrcoef` has it.
"""

from collections.abc import Sequence

import numpy as np

from peftbench.metrics.base import Array, Metric


def value(counts: Array) -> Array:
    """Compute the correlation, -1 to 1, from (..., labelled, predicted) counts."""
    labelled, predicted = counts.sum(-1), counts.sum(-2)  # (..., classes)
    total = counts.sum((-2, -1))  # (...,)
    covariance = total * np.trace(counts, axis1=-2, axis2=-1) - (labelled * predicted).sum(-1)
    variances = (total**2 - (labelled**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    scale = np.sqrt(variances)
    return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)


def chance(labels: Sequence[int], num_choices: Sequence[int]) -> float:
    """Return the correlation of guesses, 0."""
    return 0.0


METRIC = Metric("matthews", "Matthews correlation", "points", True, value, chance, lowest=-1.0)
