"""chrF2: runs of 1 to 6 characters that outputs and references share; recall counts twice, case counts, blanks do not.

    chrF = 100 (1 + 4) P R / (4 P + R),   P, R: means over n = 1 to 6 of matches / n-grams of outputs, of references

Of several references an example's best one counts. An order that outputs or references are too short for is left
out of both means. Counted by sacrebleu, whose `corpus_chrf` it is.

Paper: Popovic 2015 (W15-3049).
"""

import numpy as np

from peftbench.metrics.base import Array
from peftbench.metrics.text import Outputs, References, TextMetric, present

BETA = 2
NUM_ORDERS = 6


def statistics(outputs: Outputs, references: References) -> Array:
    """Count for each order the n-grams of an output, of its best reference, and the matches: (examples, 18)."""
    from sacrebleu.metrics import CHRF

    texts = present(references)
    most = max(map(len, texts))
    streams = [[row[number] if number < len(row) else None for row in texts] for number in range(most)]
    # sacrebleu's own tests of significance resample these; its public calls have the score alone.
    return np.array(CHRF()._extract_corpus_statistics(outputs, streams), dtype=float)


def value(sums: Array) -> Array:
    """Compute chrF, 0 to 100, from (..., 18) sums."""
    orders = sums.reshape(*sums.shape[:-1], NUM_ORDERS, 3)  # (..., orders, [of outputs, of references, matches])
    is_there = (orders[..., :2] > 0).all(-1, keepdims=True)
    shares = np.divide(orders[..., 2:], orders[..., :2], out=np.zeros_like(orders[..., :2]), where=is_there)
    precision, recall = np.moveaxis(shares.sum(-2) / np.maximum(1, is_there.sum(-2)), -1, 0)
    weight = BETA**2 * precision + recall
    f: Array = np.divide((1 + BETA**2) * precision * recall, weight, out=np.zeros_like(weight), where=weight > 0)
    return 100 * f


METRIC = TextMetric("chrf", "chrF", "points", True, statistics, value, scale=1.0, packages=("sacrebleu",))
