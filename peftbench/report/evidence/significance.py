"""Paired differences -> intervals and p-values, the example being what is drawn: numbers in, numbers out."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftbench.report.rows import strata
from peftbench.report.rows.confidence import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np

MCNEMAR, SIGN_FLIP, RANDOMISATION = "exact McNemar", "sign-flip permutation", "approximate randomisation"
NUM_DRAWS = 10_000
ALPHA = 0.05
"""Two sides are called different where the corrected p-value is below."""


@dataclass(frozen=True)
class Draws:
    """Mean differences of one task, drawn again and again.

    Args:
        resampled: (draws,) float64; of examples drawn with replacement.
        flipped: (draws,) float64; with the sides of each example swapped or not, at random.
        is_certain: Whether all that was resampled is equal because the label counts are fixed, and not for want of
            examples that differ.
    """

    resampled: "np.ndarray"
    flipped: "np.ndarray"
    is_certain: bool = False


def draw(
    sums: "np.ndarray",
    num_pairs: int,
    name: str,
    num_draws: int = NUM_DRAWS,
    labels: "np.ndarray | None" = None,
    clusters: "np.ndarray | None" = None,
) -> Draws:
    r"""Draw a task's mean difference again, under what was seen and under the null hypothesis.

    d_i = (1/K) \sum_k (b_ik - a_ik), the mean over the K pairs (template, seed) of example i, which stay together: they
    are a cluster, and only examples are independent of each other.

        resampled: mean of d_{i_1} ... d_{i_n}, each i drawn with replacement
        flipped:   mean of s_i d_i, each s_i = +1 or -1: if it makes no difference which side is which

    Where label counts are fixed, examples are resampled within each label, and those of a group (`strata.groups`) have
    one sign. Clusters of examples are drawn whole, as many as there are, and have one sign; n is then what was drawn.
    Examples, groups or clusters with the same d are alike, so it is their numbers that are drawn: multinomial,
    binomial. The draws of B against A mirror those of A against B.

    Args:
        sums: (examples,) int; K d_i.
        num_pairs: K.
        name: Of the task; decides the stream of random numbers, so that a task's draws do not depend on other tasks.
        num_draws: How many.
        labels: (examples,) int; None where their counts are not fixed.
        clusters: (examples,) int; None where each example is its own.

    Paper: Field and Welsh 2007 (cluster bootstrap); Noreen 1989, Dror et al. 2018 (P18-1128) (sign flips).
    """
    import numpy as np

    generator = np.random.default_rng(zlib.crc32(name.encode()))
    mirror, groups = -1 if sums.sum() < 0 else 1, strata.groups(len(sums), labels, clusters)
    by_group = np.bincount(groups, sums).astype(int)
    if clusters is None:
        resampled = _resampled(generator, mirror * sums, labels, num_draws) / (len(sums) * num_pairs)
    else:
        resampled = _of_clusters(generator, mirror * by_group, np.bincount(groups), num_draws) / num_pairs
    sizes, numbers = np.unique(np.abs(by_group), return_counts=True)
    swapped = generator.binomial(numbers, 0.5, size=(num_draws, len(sizes)))
    is_certain = labels is not None and bool(np.ptp(sums))
    flipped = ((numbers - 2 * swapped) @ sizes) / (len(sums) * num_pairs)
    return Draws(mirror * resampled, mirror * flipped, is_certain)


def _resampled(
    generator: "np.random.Generator", sums: "np.ndarray", labels: "np.ndarray | None", num_draws: int
) -> "np.ndarray":
    """Draw the sum of all examples' sums, within each label where there are labels: (draws,) int."""
    import numpy as np

    drawn = np.zeros(num_draws, int)
    for part in [sums] if labels is None else [sums[labels == label] for label in np.unique(labels)]:
        levels, counts = np.unique(part, return_counts=True)
        drawn += generator.multinomial(len(part), counts / len(part), size=num_draws) @ levels
    return drawn


def _of_clusters(
    generator: "np.random.Generator", sums: "np.ndarray", sizes: "np.ndarray", num_draws: int
) -> "np.ndarray":
    """Draw the mean of an example's sum from clusters' sums and sizes, (clusters,) each: (draws,) float64."""
    import numpy as np

    levels, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)  # (2, levels)
    times = generator.multinomial(len(sums), counts / len(sums), size=num_draws)  # (draws, levels)
    drawn_sums, drawn_sizes = (times @ level for level in levels)
    return np.asarray(drawn_sums / drawn_sizes)


def mean(tasks: Sequence[Draws]) -> Draws:
    """Average over tasks: which tasks there are is not drawn."""
    import numpy as np

    resampled = np.mean([task.resampled for task in tasks], axis=0)
    flipped = np.mean([task.flipped for task in tasks], axis=0)
    return Draws(resampled, flipped, all(task.is_certain for task in tasks))


def interval(draws: Draws) -> tuple[float, float] | None:
    """Return the percentile interval; None where all draws are equal for want of examples that differ.

    Paper: Efron and Tibshirani 1993, chapter 13.
    """
    import numpy as np

    tail = (1 - CONFIDENCE) / 2
    low, high = (float(end) for end in np.quantile(draws.resampled, (tail, 1 - tail)))
    return None if np.ptp(draws.resampled) == 0 and not draws.is_certain else (low, high)


def p_value(difference: float, draws: Draws) -> float:
    """Return the two-sided p-value: how often chance alone gives as large a difference.

    p = (1 + #{|flipped| >= |difference|}) / (1 + draws)

    Paper: Phipson and Smyth 2010 (1603.05766) for the ones, without which p could be zero.
    """
    # Draws that equal the difference may come out of another order of additions.
    as_large = abs(draws.flipped) >= abs(difference) - 1e-12
    return (1 + int(as_large.sum())) / (1 + len(as_large))


def mcnemar(num_only_a: int, num_only_b: int) -> float:
    """Return the exact two-sided p-value for one answer of each side to each example.

    p = 2 P(X <= min(b, c)),  X ~ Binomial(b + c, 1/2): the sign-flip test with all flips counted.

    Args:
        num_only_a: Examples that A alone gets right.
        num_only_b: Examples that B alone gets right.

    Paper: McNemar 1947; the exact conditional test of Fagerland et al. 2013 (doi 10.1186/1471-2288-13-91).
    """
    total = num_only_a + num_only_b
    tail = sum(math.comb(total, k) for k in range(min(num_only_a, num_only_b) + 1))
    return min(1.0, 2 * tail / 2**total)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being several, so that one false alarm among all is as rare as alpha says.

    p'_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)),  p_(1) <= ... <= p_(m)

    Paper: Holm 1979.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected
