"""BLEU as the E2E challenge has it: mteval's 13a tokens in lower case; references that are missing are left out.

    BLEU = 100 bp exp(1/4 sum_n log p_n),  n = 1 to 4
    p_n  = n-grams of outputs that a reference has, at most as often as one reference has them / n-grams of outputs
    bp   = min(1, exp(1 - r / c)),  c: tokens of outputs, r: tokens of the references nearest to them in length

An order without a match has p_n = 1 / (2^k total), k = 1, 2 ... over such orders, as mteval-v13a.pl smooths.
Counted by sacrebleu, whose `corpus_bleu(lowercase=True)` it is. The published 65.93 of TGen on E2E is this number.

Paper: Papineni et al. 2002; 1804.08771 (sacrebleu); 1706.09254 (E2E).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from peftbench.metrics.base import Array
from peftbench.metrics.text import Outputs, References, TextMetric, present

NUM_ORDERS = 4
PACKAGE = "sacrebleu"


def statistics(outputs: Outputs, references: References) -> Array:
    """Count tokens and n-grams: (examples, 10), as `counted`."""
    from sacrebleu.metrics import BLEU

    return counted(BLEU(lowercase=True, effective_order=True).sentence_score, outputs, present(references))


def counted(sentence_score: Callable[[str, list[str]], Any], outputs: Outputs, references: References) -> Array:
    """Count c, r, the matches of each order and its n-grams, by sacrebleu: (examples, 2 + 4 + 4) float64."""
    scores = [sentence_score(output, list(texts)) for output, texts in zip(outputs, references, strict=True)]
    return np.array([[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores], dtype=float)


def value(sums: Array, is_smoothed: bool = True) -> Array:
    """Compute BLEU, 0 to 100, from (..., 10) sums as `counted` has them."""
    output_length, reference_length = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + NUM_ORDERS], sums[..., 2 + NUM_ORDERS :]  # (..., orders)
    if is_smoothed:
        none = (matches == 0) & (matches.any(-1, keepdims=True))
        matches = np.where(none, 0.5 ** none.cumsum(-1), matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.minimum(1, np.exp(1 - reference_length / output_length))
        precisions = np.where(totals > 0, matches / totals, 0)
        score: Array = np.nan_to_num(100 * brevity * np.exp(np.log(precisions).mean(-1)))
    return score


METRIC = TextMetric("bleu", "BLEU", "points", True, statistics, value, scale=1.0, packages=(PACKAGE,))
