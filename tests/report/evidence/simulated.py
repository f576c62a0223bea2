"""Answers of candidates whose accuracies are known: a row that is hard is hard for all of them."""

from statistics import NormalDist

import numpy as np


def right(accuracies, num_rows, rng, shared=0.5):
    """Right or wrong, (candidates, rows): threshold of a normal variable, `shared` of whose variance is the row's."""
    level = np.array([NormalDist().inv_cdf(accuracy) for accuracy in accuracies])[:, None]
    hard, own = rng.standard_normal(num_rows), rng.standard_normal((len(accuracies), num_rows))
    return (np.sqrt(shared) * hard + np.sqrt(1 - shared) * own < level).astype(float)
