"""TER: the edits that turn outputs into references, for each token of the references; lower is better.

    TER = sum_i min_r edits(output_i, reference_ir) / sum_i mean_r tokens(reference_ir)

Edits are insertions, deletions, substitutions and shifts of a run of words; words are what stands between blanks, in
lower case. Counted by sacrebleu, whose `corpus_ter` it is, over a hundred: papers print 0.45, sacrebleu 44.7.

Paper: Snover et al. 2006.
"""

from collections import Counter

import numpy as np

from peftbench.metrics.base import Array
from peftbench.metrics.text import Outputs, References, TextMetric, present


def statistics(outputs: Outputs, references: References) -> Array:
    """Count each output's least edits, and the mean length of its references: (examples, 2)."""
    from sacrebleu.metrics import TER
    from sacrebleu.metrics.lib_ter import translation_edit_rate

    words = TER().tokenizer
    rows = []
    for output, texts in zip(outputs, present(references), strict=True):
        ours, theirs = words(output).split(), [words(text).split() for text in texts]
        least = np.inf
        # Shifts keep the words, so that a reference whose words alone cost as much cannot be nearer: most are skipped.
        for bound, reference in sorted((differing(ours, reference), reference) for reference in theirs):
            if bound < least:
                least = min(least, translation_edit_rate(ours, reference)[0])
        rows.append([least, np.mean([len(reference) for reference in theirs])])
    return np.array(rows, dtype=float)


def differing(ours: list[str], theirs: list[str]) -> int:
    """Count the words that must be inserted, deleted or substituted in whatever order they stand."""
    return max(len(ours), len(theirs)) - (Counter(ours) & Counter(theirs)).total()


def value(sums: Array) -> Array:
    """Compute TER, at least 0, from (..., 2) sums."""
    rate: Array = sums[..., 0] / sums[..., 1]
    return rate


METRIC = TextMetric(
    "ter", "TER", "edits/token", False, statistics, value, scale=1.0, decimals=2, packages=("sacrebleu",)
)
