"""Exact match: the share of outputs that are equal to one of their references, both normalised as SQuAD's.

EM = 1/n sum_i max_r [normalised(output_i) = normalised(reference_ir)]

Paper: 1606.05250, section 6.1.
"""

from peftbench.metrics.base import Array
from peftbench.metrics.squad import normalized
from peftbench.metrics.text import Outputs, References, TextMetric, best, mean


def statistics(outputs: Outputs, references: References) -> Array:
    """Compute for each example whether its output is a reference, and a one: (examples, 2)."""
    return best(outputs, references, lambda output, text: float(normalized(output) == normalized(text)))


METRIC = TextMetric("exact_match", "exact match", "%", True, statistics, mean)
