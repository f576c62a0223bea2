"""The best of several candidates, by the rows that it was chosen on -> what it will do on others."""

import math
import zlib
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from peftbench.report.evidence.clusters import Clusters
from peftbench.report.rows import strata
from peftbench.report.rows.confidence import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np

NUM_DRAWS = 2_000
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class Estimate:
    """An accuracy that is corrected for having been the best.

    Args:
        interval: 95 %.
    """

    value: float
    interval: tuple[float, float]


def corrected(right: "np.ndarray", clusters: Clusters, name: str, num_answers: int = 1) -> Estimate:
    r"""Correct the accuracy of the best candidate for its having been chosen by the same rows.

    value = mean_b  acc_{w(b)}(rows that are not in b),  w(b) = argmax_w acc_w(b),  b a draw of rows with replacement;
    of a single candidate its own accuracy

    The interval has the percentiles of what is averaged. They are wider than the score's own spread, as a third of
    the rows is not in b: by sqrt(1.72) where rows are independent, which the answers of cross-validation are not
    quite. Near 0 and 1 percentiles of few rows are too narrow: there Wilson's interval around the value is wider and
    takes their place, with as many rows as would give the mean's standard error.

    Args:
        right: (candidates, rows), share of right answers; of equally good candidates the first is chosen.
        clusters: Of the rows: what is drawn.
        name: Decides the stream of random numbers.
        num_answers: Templates times seeds that are averaged.

    Paper: Tsamardinos, Greasidou and Borboudakis 2018 (doi 10.1007/s10994-018-5714-4), bootstrap bias-corrected
        cross-validation; Wilson 1927.
    """
    import numpy as np

    values = drawn(right, clusters, name)
    best, tail = right[right.mean(axis=1).argmax()], (1 - CONFIDENCE) / 2
    value = float((values if len(right) > 1 else best).mean())
    low, high = wilson(value, num_independent(best, clusters, num_answers))
    percentiles = np.quantile(values, (tail, 1 - tail))
    return Estimate(value, (min(low, float(percentiles[0])), max(high, float(percentiles[1]))))


def drawn(right: "np.ndarray", clusters: Clusters, name: str, num_draws: int = NUM_DRAWS) -> "np.ndarray":
    """Choose the best on rows that are drawn, and score it on those that are not, again and again.

    Args:
        right: (candidates, rows).
        clusters: Drawn whole.
        name: Decides the stream of random numbers.
        num_draws: How often; draws that leave no row over are left out.

    Returns:
        (draws,) float64; accuracies. Of a single cluster, which leaves nothing over, its own.
    """
    import numpy as np

    number = clusters.number
    sums, sizes = clusters.sums(right), clusters.sizes  # (candidates, clusters), (clusters,)
    if number < 2:
        return np.asarray(right.mean(axis=1).max(keepdims=True))
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    times = strata.occurrences(generator.integers(number, size=(num_draws, number))).astype(float)
    is_left = (times == 0).astype(float)
    num_left = is_left @ sizes  # (draws,)
    inside = (times @ sums.T) / (times @ sizes)[:, None]  # (draws, candidates)
    # Sums of the same shares in another order may differ in their last digit.
    chosen = inside.round(12).argmax(axis=1)
    outside = np.take_along_axis(is_left @ sums.T, chosen[:, None], axis=1)[:, 0]
    return np.asarray(outside[num_left > 0] / num_left[num_left > 0])


def wilson(share: float, number: float) -> tuple[float, float]:
    """Return Wilson's interval of a share.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)
    """
    middle, scale = share + Z**2 / (2 * number), 1 + Z**2 / number
    half = Z * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def num_independent(right: "np.ndarray", clusters: Clusters, num_answers: int) -> float:
    """Return of how many independent answers the mean would have its standard error: p(1-p) / error^2.

    Args:
        right: (rows,), share of right answers.
        clusters: Of the rows; their number stands in where all rows are alike.
        num_answers: Templates times seeds; more than so many for each row are never independent.
    """
    share, error = float(right.mean()), clusters.error(right)
    if not error:
        return clusters.number
    return min(share * (1 - share) / error**2, float(clusters.num_rows * num_answers))
