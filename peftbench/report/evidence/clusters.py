"""Rows that belong together -> sums over each cluster: what is drawn, and what changes sides, as a whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Clusters:
    """Which rows belong together: those of one text, or of one group; most are clusters of their own.

    Args:
        of_row: (rows,) int, the cluster of each row, numbered from 0 without a gap.
    """

    of_row: "np.ndarray"

    @classmethod
    def of(cls, names: Sequence[object]) -> "Clusters":
        """Number the clusters by names, one for each row."""
        import numpy as np

        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return cls(np.array([numbers[name] for name in names], int))

    @property
    def num_rows(self) -> int:
        """All rows."""
        return len(self.of_row)

    @property
    def number(self) -> int:
        """All clusters."""
        return 1 + int(self.of_row.max())

    @property
    def sizes(self) -> "np.ndarray":
        """Rows of each cluster: (clusters,) int."""
        import numpy as np

        return np.bincount(self.of_row)

    def sums(self, values: "np.ndarray") -> "np.ndarray":
        """Add values over the rows of each cluster: (..., rows) -> (..., clusters) float64."""
        import numpy as np

        if self.number == self.num_rows:
            return np.asarray(values, float)[..., np.argsort(self.of_row)]
        flat = np.asarray(values, float).reshape(-1, self.num_rows)
        added = np.array([np.bincount(self.of_row, line) for line in flat])
        return added.reshape(*values.shape[:-1], self.number)

    def error(self, values: "np.ndarray") -> float:
        r"""Compute the standard error of the mean over rows, the cluster being what is drawn.

        (1/n) sqrt(G/(G-1) \sum_g (\sum_{i in g} (x_i - mean))^2);  without clusters of several rows s / sqrt(n)

        Args:
            values: (rows,), x.

        Paper: 2411.00640, section 2.2 (clustered standard errors), with the factor for few clusters.
        """
        import numpy as np

        if self.number < 2:
            return 0.0
        sums = self.sums(values - values.mean())
        return float(np.sqrt(self.number / (self.number - 1) * (sums**2).sum())) / self.num_rows
