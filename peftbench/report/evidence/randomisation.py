"""Two sides' predictions of the same examples -> their difference in any metric, drawn again and again.

Shapes: examples are those of a task that both sides answered; conditions are the (template, seed) under which they did;
draws are repetitions, each with other examples or other swaps.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftbench.metrics.base import Metric, confusion
from peftbench.report.evidence.significance import NUM_DRAWS, Draws
from peftbench.report.rows import strata

if TYPE_CHECKING:
    import numpy as np

BLOCK = 500
"""Draws at a time, so that weights of many examples fit in memory."""


@dataclass(frozen=True)
class Predictions:
    """What two sides predicted, and what was right, as indices of choices.

    Args:
        a: (conditions, examples).
        b: (conditions, examples).
        labels: (conditions, examples).
    """

    a: "np.ndarray"
    b: "np.ndarray"
    labels: "np.ndarray"

    @property
    def num_choices(self) -> int:
        """How many choices occur."""
        return 1 + int(max(self.a.max(), self.b.max(), self.labels.max()))

    @property
    def by_condition(self) -> "Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]":
        """Yield A's and B's predictions and the labels, (examples,) each, condition by condition."""
        return zip(self.a, self.b, self.labels, strict=True)


def scores(metric: Metric, predictions: Predictions) -> "np.ndarray":
    """Compute each side's metric under each condition: (sides, conditions)."""
    import numpy as np

    values = [(metric.of(a, labels), metric.of(b, labels)) for a, b, labels in predictions.by_condition]
    return np.array(values).T


def resampled(metric: Metric, predictions: Predictions, times: "np.ndarray") -> "np.ndarray":
    r"""Compute B's mean metric minus A's where examples stand several times, or not at all.

    (1/K) \sum_k M(B_k) - M(A_k),  A_k and B_k counts under condition k of labels and predictions

    Args:
        metric: M.
        predictions: Of both sides.
        times: (draws, examples), how often each example is drawn.

    Returns:
        (draws,) float64.
    """
    import numpy as np

    size, values = predictions.num_choices, []
    for a, b, labels in predictions.by_condition:
        counts_a, counts_b = (confusion(side, labels, times, size) for side in (a, b))  # (draws, choices, choices)
        values.append(metric.value(counts_b) - metric.value(counts_a))
    return np.asarray(np.mean(values, axis=0))


def swapped(metric: Metric, predictions: Predictions, swaps: "np.ndarray") -> "np.ndarray":
    r"""Compute B's mean metric minus A's where some examples' predictions have changed sides, under all conditions.

    (1/K) \sum_k M(B_k + S_k) - M(A_k - S_k),  S_k = \sum_i s_i (a_ik - b_ik),  a_ik, b_ik the counts of example i

    Args:
        metric: M.
        predictions: Of both sides.
        swaps: (draws, examples), 1 where an example's predictions change sides, else 0.

    Returns:
        (draws,) float64.
    """
    import numpy as np

    size, values = predictions.num_choices, []
    for a, b, labels in predictions.by_condition:
        plain_a, plain_b = (confusion(side, labels, num_choices=size) for side in (a, b))  # (choices, choices)
        moved = confusion(a, labels, swaps, size) - confusion(b, labels, swaps, size)  # (draws, choices, choices)
        values.append(metric.value(plain_b + moved) - metric.value(plain_a - moved))
    return np.asarray(np.mean(values, axis=0))


def draw(
    metric: Metric,
    predictions: Predictions,
    name: str,
    num_draws: int = NUM_DRAWS,
    labels: "np.ndarray | None" = None,
    clusters: "np.ndarray | None" = None,
) -> Draws:
    """Draw a task's difference again, under what was seen and under the null hypothesis.

    An example stays together with all its conditions: it is a cluster, and only examples are independent of each other.
    If it makes no difference which side is which, each example's predictions may as well change sides. Where the
    label counts are fixed, examples are drawn within each label, and those of a group (`strata.groups`) change sides
    together; clusters of examples are drawn, and change sides, as a whole. The draws of B against A mirror those of A
    against B.

    Args:
        metric: Of which the difference is.
        predictions: Of both sides.
        name: Of the task; decides the stream of random numbers, so that a task's draws do not depend on other tasks.
        num_draws: How many.
        labels: (examples,) int; None where their counts are not fixed.
        clusters: (examples,) int; None where each example is its own.

    Paper: Field and Welsh 2007 (cluster bootstrap); Noreen 1989, Yeh 2000 (cs/0008005) (approximate randomisation).
    """
    import numpy as np

    generator, num_examples = np.random.default_rng(zlib.crc32(name.encode())), predictions.labels.shape[1]
    again, flipped, groups = [], [], strata.groups(num_examples, labels, clusters)
    for first in range(0, num_draws, BLOCK):
        num = min(BLOCK, num_draws - first)
        if clusters is None:
            times = strata.occurrences(strata.drawn(generator, (num, num_examples), labels))
        else:
            times = strata.times(generator, num, clusters)
        again.append(resampled(metric, predictions, times.astype(float)))
        swaps = generator.integers(2, size=(num, 1 + groups.max()))[:, groups]  # (draws, examples)
        flipped.append(swapped(metric, predictions, swaps.astype(float)))
    whole = strata.drawn(generator, (BLOCK, num_examples), None)
    times = strata.occurrences(whole).astype(float)
    is_certain = labels is not None and bool(np.ptp(resampled(metric, predictions, times)))
    return Draws(np.concatenate(again), np.concatenate(flipped), is_certain)
