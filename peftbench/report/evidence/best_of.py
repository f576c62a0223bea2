"""Is the best of several candidates better than a rival? A test that knows that it is the best of several."""

import zlib
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from peftbench.report.evidence.clusters import Clusters
from peftbench.report.evidence.significance import ALPHA, NUM_DRAWS

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class BestOf:
    """The best of several candidates against one rival.

    Args:
        p_value: One-sided: how often the best of them, whichever that is, comes out as far ahead by chance alone.
        critical: What the statistic has to exceed so that `p_value` is below alpha; for one candidate and many rows the
            normal distribution's 1.96 (alpha = 0.025), the more the more candidates there are.
    """

    p_value: float
    critical: float


def best_of(
    right: "np.ndarray",
    rival: "np.ndarray",
    clusters: Clusters,
    name: str,
    alpha: float = ALPHA / 2,
    num_draws: int = NUM_DRAWS,
) -> BestOf:
    r"""Test whether the candidate of the highest accuracy is better than a rival.

    T_w = \sum_g D_wg / sqrt(1 + \sum_g D_wg^2),  D_wg the sum over cluster g of (right_w - right_rival)
    p = (1 + #{max_w T_w(s) >= T_best}) / (1 + draws),  T_w(s) with s_g D_wg, each s_g = +1 or -1

    If nothing is better or worse than the rival, each cluster's difference may as well have the other sign, for all
    candidates at once. The 1 under the root keeps a candidate that differs from the rival in one row or two from
    ruling the maximum.

    Args:
        right: (candidates, rows).
        rival: (rows,).
        clusters: Of the rows; each has one sign.
        name: Decides the stream of random numbers.
        alpha: Of one side.
        num_draws: Of signs.

    Paper: Westfall and Young 1993, section 2.3 (single-step maxT); Romano and Wolf 2005
        (doi 10.1198/016214504000000539).
    """
    import numpy as np

    differences = clusters.sums(right - rival)  # (candidates, clusters)
    scale = np.sqrt(1 + (differences**2).sum(axis=1))
    # Clusters with the same differences, or the opposite ones, are alike: it is their numbers that are drawn.
    levels, counts = np.unique(_same_side(differences), axis=1, return_counts=True)
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    flipped = counts - 2 * generator.binomial(counts, 0.5, size=(num_draws, len(counts)))  # (draws, levels)
    highest = (flipped @ levels.T / scale).max(axis=1)  # (draws,)
    best = right.mean(axis=1).argmax()
    statistic = differences[best].sum() / scale[best]
    p_value = (1 + int((highest >= statistic - 1e-9).sum())) / (1 + num_draws)
    quantile = float(np.quantile(highest, 1 - alpha, method="higher"))
    return BestOf(p_value, max(NormalDist().inv_cdf(1 - alpha), quantile))


def _same_side(differences: "np.ndarray") -> "np.ndarray":
    """Turn each column so that the first number of it that is not 0 is above 0; leave columns of 0 out."""
    import numpy as np

    columns = differences[:, differences.any(axis=0)]
    first = np.take_along_axis(columns, (columns != 0).argmax(axis=0)[None], axis=0)
    return np.asarray(columns * np.sign(first))
