"""What a metric of written answers is: sums over examples, and the number that they come to.

    value = f(sum_i s_i),    s_i = statistics(output_i, references of i)

So a mean has s_i = (v_i, 1) and f = sum / count; BLEU has matches and totals of n-grams. A sample of a bootstrap, in
which example i stands w_i times, has the value f(sum_i w_i s_i): nothing is counted again.

Shapes: examples are rows of a task under one template; statistics are a metric's own, always as many.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from peftbench.errors import TaskError
from peftbench.metrics.base import Array, Scale
from peftbench.spec.packages import require

EXTRA = "text"
"""The extra that brings the packages of these metrics."""
Outputs = Sequence[str]
References = Sequence[Sequence[str]]


@dataclass(frozen=True)
class TextMetric(Scale):
    """A metric of written answers against one or several references each.

    Args:
        statistics: (outputs, references of each) -> (examples, statistics) float64; use `statistics_of`, which checks.
        value: (..., statistics) sums over examples -> (...,) values; numpy alone, so that it needs no package.
        needs_all: Why the value of a part of the test rows is not comparable with that of all; None where it is.
            Resampled, such a metric keeps what it took from all rows, as document frequencies.
        packages: What `statistics` imports, as pip knows it; the extra `text` brings it.
        programs: What `statistics` runs.
    """

    statistics: Callable[[Outputs, References], Array]
    value: Callable[[Array], Array]
    needs_all: str | None = None
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def require(self) -> None:
        """Check that what it counts with is installed; nothing is imported.

        Raises:
            PeftbenchError: A package or a program is missing; the hint says how it is had.
        """
        for package in self.packages:
            require(package, EXTRA, f"metric '{self.name}'")
        for program in self.programs:
            if shutil.which(program) is None:
                message = f"metric '{self.name}' runs the program {program}, which is not installed"
                raise TaskError(message, hint=f"install {program}, or name another metric in the task's file")

    def statistics_of(self, outputs: Outputs, references: References) -> Array:
        """Compute what the value is made from: (examples, statistics) float64.

        Args:
            outputs: One for each example; an empty one counts as any other does.
            references: At least one for each example that is not blank; a blank one stands for a missing one.

        Raises:
            TaskError: There are no outputs, or an example has no references.
            PeftbenchError: A package or a program is missing.
        """
        if len(outputs) != len(references) or not outputs:
            message = f"metric '{self.name}' compares outputs with references, one list for each"
            raise TaskError(f"{message}, and found {len(outputs)} and {len(references)}")
        if missing := [number for number, texts in enumerate(present(references)) if not texts]:
            message = f"metric '{self.name}' needs a reference for each output; {len(missing)} have none"
            raise TaskError(message, hint=f"the first is number {missing[0]}, counted from 0")
        self.require()
        return self.statistics(outputs, references)

    def of_sums(self, sums: Sequence[float]) -> float:
        """Compute the value of (statistics,) sums over examples."""
        return float(self.value(np.asarray(sums, dtype=float)))

    def of(self, outputs: Outputs, references: References) -> float:
        """Compute the value of outputs against the references of each."""
        return float(self.value(self.statistics_of(outputs, references).sum(0)))


def present(references: References) -> list[list[str]]:
    """Leave out references that are blank, which stand for missing ones."""
    return [[text for text in texts if text.strip()] for texts in references]


def mean(sums: Array) -> Array:
    """Compute the mean over examples from (..., 2) sums of values and of ones."""
    average: Array = sums[..., 0] / sums[..., 1]
    return average


def best(outputs: Outputs, references: References, score: Callable[[str, str], float]) -> Array:
    """Compare each output with each of its references and keep the best: (examples, 2), for `mean`."""
    values = [
        max(score(output, text) for text in texts) for output, texts in zip(outputs, present(references), strict=True)
    ]
    return np.column_stack([values, np.ones(len(values))])
