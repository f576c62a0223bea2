"""Two sides' answers to the same examples -> their difference in any metric, drawn again and again.

Answers are chosen, and a metric is made of counts of choices; or they are written, and it is made of sums of statistics
over examples (`metrics.text`).

Shapes: examples are those of a task that both sides answered; conditions are the (template, seed) under which they did;
draws are repetitions, each with other examples or other swaps.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from peftbench.metrics.base import Metric, confusion
from peftbench.metrics.text import TextMetric
from peftbench.report.evidence.significance import NUM_DRAWS, Draws
from peftbench.report.rows import strata

if TYPE_CHECKING:
    import numpy as np

BLOCK = 500
"""Draws at a time, so that weights of many examples fit in memory."""


AnyMetric = Metric | TextMetric
Sums = tuple["np.ndarray", "np.ndarray"]
"""Of A and of B: what a metric's value is a function of."""


class Sides(Protocol):
    """What two sides answered, as sums over examples that a metric is made of."""

    @property
    def num_examples(self) -> int:
        """How many examples both answered."""
        ...

    def plain(self) -> Iterator[Sums]:
        """Yield both sides' sums, condition by condition."""
        ...

    def weighed(self, weights: "np.ndarray") -> Iterator[Sums]:
        """Yield the same where examples have weights, (draws, examples): each sum (draws, ...)."""
        ...


@dataclass(frozen=True)
class Statistics:
    """What two sides' written answers are worth, as what a metric is made of.

    Args:
        a: For each condition (examples, statistics).
        b: The same of B.
    """

    a: "tuple[np.ndarray, ...]"
    b: "tuple[np.ndarray, ...]"

    @property
    def num_examples(self) -> int:
        """How many examples both answered."""
        return len(self.a[0])

    def plain(self) -> Iterator[Sums]:
        """Yield the sums of both sides, (statistics,) each, condition by condition."""
        yield from ((a.sum(0), b.sum(0)) for a, b in zip(self.a, self.b, strict=True))

    def weighed(self, weights: "np.ndarray") -> Iterator[Sums]:
        """Yield the sums of both sides, (draws, statistics) each, of weights (draws, examples)."""
        yield from ((weights @ a, weights @ b) for a, b in zip(self.a, self.b, strict=True))


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
    def num_examples(self) -> int:
        """How many examples both answered."""
        return self.labels.shape[1]

    @property
    def num_choices(self) -> int:
        """How many choices occur."""
        return 1 + int(max(self.a.max(), self.b.max(), self.labels.max()))

    def plain(self) -> Iterator[Sums]:
        """Yield the counts of both sides, (choices, choices) each, condition by condition."""
        yield from self._counts(None)

    def weighed(self, weights: "np.ndarray") -> Iterator[Sums]:
        """Yield the counts of both sides, (draws, choices, choices) each, of weights (draws, examples)."""
        yield from self._counts(weights)

    def _counts(self, weights: "np.ndarray | None") -> Iterator[Sums]:
        size = self.num_choices
        for a, b, labels in zip(self.a, self.b, self.labels, strict=True):
            yield confusion(a, labels, weights, size), confusion(b, labels, weights, size)


def scores(metric: AnyMetric, sides: Sides) -> "np.ndarray":
    """Compute each side's metric under each condition, in hundredths of what is shown: (sides, conditions)."""
    import numpy as np

    values = [(metric.value(a), metric.value(b)) for a, b in sides.plain()]
    return np.array(values).T * _share(metric)


def _share(metric: AnyMetric) -> float:
    """Return what a metric's value is multiplied by to be a hundredth of what is shown."""
    return metric.scale / 100


def resampled(metric: AnyMetric, sides: Sides, times: "np.ndarray") -> "np.ndarray":
    r"""Compute B's mean metric minus A's where examples stand several times, or not at all.

    (1/K) \sum_k M(B_k) - M(A_k),  A_k and B_k what M is made of under condition k

    Args:
        metric: M.
        sides: Their answers.
        times: (draws, examples), how often each example is drawn.

    Returns:
        (draws,) float64, in hundredths of what is shown.
    """
    import numpy as np

    values = [metric.value(b) - metric.value(a) for a, b in sides.weighed(times)]
    return np.asarray(np.mean(values, axis=0) * _share(metric))


def swapped(metric: AnyMetric, sides: Sides, swaps: "np.ndarray") -> "np.ndarray":
    r"""Compute B's mean metric minus A's where some examples' answers have changed sides, under all conditions.

    (1/K) \sum_k M(B_k + S_k) - M(A_k - S_k),  S_k = \sum_i s_i (a_ik - b_ik),  a_ik, b_ik what example i adds

    Args:
        metric: M.
        sides: Their answers.
        swaps: (draws, examples), 1 where an example's answers change sides, else 0.

    Returns:
        (draws,) float64, in hundredths of what is shown.
    """
    import numpy as np

    values = []
    for (plain_a, plain_b), (part_a, part_b) in zip(sides.plain(), sides.weighed(swaps), strict=True):
        moved = part_a - part_b
        values.append(metric.value(plain_b + moved) - metric.value(plain_a - moved))
    return np.asarray(np.mean(values, axis=0) * _share(metric))


def draw(
    metric: AnyMetric,
    sides: Sides,
    name: str,
    num_draws: int = NUM_DRAWS,
    labels: "np.ndarray | None" = None,
    clusters: "np.ndarray | None" = None,
) -> Draws:
    """Draw a task's difference again, under what was seen and under the null hypothesis.

    An example stays together with all its conditions: it is a cluster, and only examples are independent of each other.
    If it makes no difference which side is which, each example's answers may as well change sides. Where the
    label counts are fixed, examples are drawn within each label, and those of a group (`strata.groups`) change sides
    together; clusters of examples are drawn, and change sides, as a whole. The draws of B against A mirror those of A
    against B.

    Args:
        metric: Of which the difference is.
        sides: Their answers.
        name: Of the task; decides the stream of random numbers, so that a task's draws do not depend on other tasks.
        num_draws: How many.
        labels: (examples,) int; None where their counts are not fixed.
        clusters: (examples,) int; None where each example is its own.

    Paper: Field and Welsh 2007 (cluster bootstrap); Noreen 1989, Yeh 2000 (cs/0008005) (approximate randomisation).
    """
    import numpy as np

    generator, num_examples = np.random.default_rng(zlib.crc32(name.encode())), sides.num_examples
    again, flipped, groups = [], [], strata.groups(num_examples, labels, clusters)
    for first in range(0, num_draws, BLOCK):
        num = min(BLOCK, num_draws - first)
        if clusters is None:
            times = strata.occurrences(strata.drawn(generator, (num, num_examples), labels))
        else:
            times = strata.times(generator, num, clusters)
        again.append(resampled(metric, sides, times.astype(float)))
        swaps = generator.integers(2, size=(num, 1 + groups.max()))[:, groups]  # (draws, examples)
        flipped.append(swapped(metric, sides, swaps.astype(float)))
    whole = strata.drawn(generator, (BLOCK, num_examples), None)
    times = strata.occurrences(whole).astype(float)
    is_certain = labels is not None and bool(np.ptp(resampled(metric, sides, times)))
    return Draws(np.concatenate(again), np.concatenate(flipped), is_certain)
