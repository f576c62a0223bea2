"""What a row's score is: the name of its metric, its unit, and whether more of it is better."""

from dataclasses import dataclass

from peftbench.report.rows import units
from peftbench.store.record import TemplateResult


@dataclass(frozen=True)
class Metric:
    """A metric as tables show it; `record.task.metric` names it.

    Args:
        name: As tasks name it.
        unit: In which tables show it.
        best_is_high: Whether more of it is better.
        lowest: The least that it can be; the most is 1.
        hint: One line on what a row has of it.
    """

    name: str
    unit: str = "%"
    best_is_high: bool = True
    lowest: float = 0.0
    hint: str = "median over templates x seeds; over several tasks the mean of their medians"

    @property
    def title(self) -> str:
        """Name and unit: "accuracy %"."""
        return f"{self.name} {self.unit}".rstrip()

    def score(self, result: TemplateResult) -> float:
        """Return the score under one template, 0 to 1."""
        return result.accuracy()

    def tick(self, score: float) -> str:
        """Write a score in the unit of the tables, without decimals."""
        return f"{100 * score:.0f}"

    def text(self, score: float) -> str:
        """Write a score in the unit of the tables."""
        return units.percent(score)


ACCURACY = Metric("accuracy")
METRICS = {metric.name: metric for metric in (ACCURACY,)}


def metric(name: str) -> Metric:
    """Return the metric of this name; what has no entry of its own is shown as a share in percent."""
    return METRICS.get(name, Metric(name))
