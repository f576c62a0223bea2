"""ROUGE-L as the E2E challenge has it: the longest common subsequence of words, recall weighed more than precision.

    R_i = max_r LCS(output_i, reference_ir) / words of the reference      P_i = max_r LCS / words of the output
    F_i = (1 + b^2) R_i P_i / (R_i + b^2 P_i),  b = 1.2        ROUGE-L = 1/n sum_i F_i

The best recall and the best precision may be of different references. Words are `ptb.tokens`. Counted by
pycocoevalcap. The published 68.50 of TGen on E2E is this number; `rouge_score_l`, by the definition of summarisation
papers, is 67.43 there.

Paper: Lin 2004 (W04-1013); 1504.00325 (COCO captions), whose script it is.
"""

import numpy as np

from peftbench.metrics import ptb
from peftbench.metrics.base import Array
from peftbench.metrics.text import Outputs, References, TextMetric, mean, present


def statistics(outputs: Outputs, references: References) -> Array:
    """Compute each example's F, and a one: (examples, 2)."""
    from pycocoevalcap.rouge.rouge import Rouge

    _, scores = Rouge().compute_score(*ptb.captions(outputs, present(references)))
    return np.column_stack([scores, np.ones(len(scores))])


METRIC = TextMetric("rouge_l", "ROUGE-L", "%", True, statistics, mean, packages=ptb.PACKAGES)
