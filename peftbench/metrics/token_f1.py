"""Token F1: the words that output and reference share, as the harmonic mean of precision and recall, best reference.

    F1 = 2 |o and r| / (|o| + |r|)        o, r: bags of words, normalised as SQuAD's

Paper: 1606.05250, section 6.1.

Differs: where both are nothing but articles and punctuation F1 is 1, as in SQuAD 2.0's script and as exact match has
it; SQuAD 1.1's and MRQA's scripts have 0.
"""

from collections import Counter

from peftbench.metrics.base import Array
from peftbench.metrics.squad import normalized
from peftbench.metrics.text import Outputs, References, TextMetric, best, mean


def f1(output: str, reference: str) -> float:
    """Compute F1 of an output and a reference, 0 to 1."""
    ours, theirs = normalized(output).split(), normalized(reference).split()
    if not ours and not theirs:
        return 1.0
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def statistics(outputs: Outputs, references: References) -> Array:
    """Compute each example's best F1, and a one: (examples, 2)."""
    return best(outputs, references, f1)


METRIC = TextMetric("token_f1", "token F1", "%", True, statistics, mean)
