"""ROUGE-L as summarisation papers have it: F1 of the longest common subsequence of words, of the best reference.

    F_i = max_r 2 LCS(output_i, reference_ir) / (words of the output + words of the reference)

Words are runs of ASCII's letters and digits in lower case, not stemmed. Counted by rouge-score, Google's package, whose
`rougeL` it is. `rouge_l` is the E2E challenge's, and another number.

Paper: Lin 2004 (W04-1013).
"""

import numpy as np

from peftbench.metrics.base import Array
from peftbench.metrics.text import Outputs, References, TextMetric, mean, present


def statistics(outputs: Outputs, references: References) -> Array:
    """Compute each example's best F1, and a one: (examples, 2)."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"])
    pairs = zip(outputs, present(references), strict=True)
    scores = [scorer.score_multi(texts, output)["rougeL"].fmeasure for output, texts in pairs]
    return np.column_stack([scores, np.ones(len(scores))])


METRIC = TextMetric("rouge_score_l", "ROUGE-L F1", "%", True, statistics, mean, packages=("rouge-score",))
