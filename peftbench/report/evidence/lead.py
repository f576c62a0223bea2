"""How far the best of some candidates is ahead of another one, how sure that is, and what rows could show."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from peftbench.report.evidence import power
from peftbench.report.evidence.best_of import best_of
from peftbench.report.evidence.clusters import Clusters
from peftbench.report.evidence.significance import ALPHA
from peftbench.report.rows.table import Interval

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Lead:
    """An accuracy minus another one on the same rows, of which one or both are the best of several.

    Args:
        value: As it was seen.
        interval: 95 %, wide enough for the choice of the best among several.
        p_value: Corrected likewise.
        detectable: The true difference that these rows show in 80 of 100 cases; None where all answers are alike.
        num_more_rows: With which the difference that was seen would be detectable; None where it is shown already, or
            where none was seen of the side that is asked for.
    """

    value: float
    interval: Interval
    p_value: float
    detectable: float | None
    num_more_rows: int | None

    @property
    def is_shown(self) -> bool:
        """Whether the p-value is below 0.05."""
        return self.p_value < ALPHA


def between(first: "np.ndarray", second: "np.ndarray", clusters: Clusters, name: str) -> Lead:
    """Compare the best of some candidates with the best of others.

    p = 2 min(p of first over second, p of second over first), each as `best_of` has it: of the one who is behind it
    takes the best as fixed, which errs against the one who is ahead.

    Args:
        first: (candidates, rows), share of right answers.
        second: (candidates, rows).
        clusters: Of the rows.
        name: Decides the stream of random numbers.
    """
    best, rival = (side[side.mean(axis=1).argmax()] for side in (first, second))
    up, down = best_of(first, rival, clusters, name), best_of(second, best, clusters, name)
    p_value = min(1.0, 2 * min(up.p_value, down.p_value))
    return _lead(best - rival, clusters, p_value, (up.critical, down.critical))


def over(candidates: "np.ndarray", rival: "np.ndarray", clusters: Clusters, name: str) -> Lead:
    """Compare the best of some candidates with one rival; p is one-sided: is it better?

    Args:
        candidates: (candidates, rows), share of right answers.
        rival: (rows,).
        clusters: Of the rows.
        name: Decides the stream of random numbers.
    """
    best = candidates[candidates.mean(axis=1).argmax()]
    test = best_of(candidates, rival, clusters, name, alpha=ALPHA)
    lead = _lead(best - rival, clusters, test.p_value, (test.critical, test.critical))
    return lead if lead.value > 0 else replace(lead, num_more_rows=None)


def _lead(differences: "np.ndarray", clusters: Clusters, p_value: float, criticals: tuple[float, float]) -> Lead:
    """Measure the mean of paired differences.

    interval = value -+ critical sqrt(1 + sum of squares over clusters) / n: 0 is in it where p is not below alpha

    Args:
        differences: (rows,).
        clusters: Of the rows.
        p_value: Of their mean.
        criticals: Below and above.
    """
    value, error = float(differences.mean()), clusters.error(differences)
    width = math.sqrt(1 + float((clusters.sums(differences) ** 2).sum())) / clusters.num_rows
    seen = power.detectable(error, criticals[0] if value > 0 else criticals[1]) if error else None
    return Lead(
        value,
        (max(-1.0, value - criticals[0] * width), min(1.0, value + criticals[1] * width)),
        p_value,
        seen,
        None if p_value < ALPHA or not value or seen is None else power.num_more_rows(value, seen, clusters.num_rows),
    )
