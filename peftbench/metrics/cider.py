r"""CIDEr-D: cosine of outputs' and references' n-grams, which weigh more the fewer examples' references have them.

    CIDEr = 1/n sum_i 10 mean_(n = 1 to 4, r) exp(-(l_i - l_ir)^2 / 72) min(o, r) . r / (|o| |r|)
    o, r: counts of the n-grams of output i, of reference ir, times log(examples / examples whose references have them)

l are lengths in pairs of words. Words are `ptb.tokens`. Counted by pycocoevalcap, whose `Cider` is the paper's
CIDEr-D. The published 2.2338 of TGen on E2E is this number. Of one example it is 0: all its n-grams are in all
references. Resampled, the weights stay those of all rows.

Paper: 1411.5726, section 4 and equation 7.
"""

import numpy as np

from peftbench.metrics import ptb
from peftbench.metrics.base import Array
from peftbench.metrics.text import Outputs, References, TextMetric, mean, present


def statistics(outputs: Outputs, references: References) -> Array:
    """Compute each example's value, 0 to 10, and a one: (examples, 2)."""
    from pycocoevalcap.cider.cider import Cider

    _, scores = Cider().compute_score(*ptb.captions(outputs, present(references)))
    return np.column_stack([scores, np.ones(len(scores))])


METRIC = TextMetric(
    "cider",
    "CIDEr",
    "of 10",
    True,
    statistics,
    mean,
    scale=1.0,
    decimals=2,
    needs_all="an n-gram's weight is counted in the references of all test rows",
    packages=ptb.PACKAGES,
)
