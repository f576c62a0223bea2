"""Contains: the share of outputs in which one of their references stands, as whole words, normalised as SQuAD's.

contains = 1/n sum_i max_r [normalised(reference_ir) in normalised(output_i)]

For answers that come wrapped in a sentence. An output that lists everything contains the answer, too: beside exact
match it says how much of the error is wrapping.
"""

from peftbench.metrics.base import Array
from peftbench.metrics.squad import normalized
from peftbench.metrics.text import Outputs, References, TextMetric, best, mean


def contains(output: str, reference: str) -> float:
    """Return 1 where the words of a reference stand in an output in their order and without others between, else 0."""
    return float(f" {normalized(reference)} " in f" {normalized(output)} ")


def statistics(outputs: Outputs, references: References) -> Array:
    """Compute for each example whether its output contains a reference, and a one: (examples, 2)."""
    return best(outputs, references, contains)


METRIC = TextMetric("contains", "contains", "%", True, statistics, mean)
