"""What a metric is: a number from predicted and right choices, with its unit, its direction and its chance level."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """A metric of rank classification.

    Args:
        title: As the head of a column names it.
        unit: In which `percent` values are shown.
        higher_is_better: Its direction.
        value: (predictions, labels) -> its value. Both are (examples,) indices of choices. With weights (samples,
            examples), the times that each example stands in a sample, it gives the value of each sample, (samples,).
        chance: (labels, number of choices of each example) -> its value where each choice is guessed equally often.
    """

    title: str
    unit: str
    higher_is_better: bool
    value: Callable[..., Array]
    chance: Callable[[Sequence[int], Sequence[int]], float]

    def of(self, predictions: Sequence[int], labels: Sequence[int]) -> float:
        """Compute the value of one set of predictions."""
        return float(self.value(np.asarray(predictions), np.asarray(labels)))


def confusion(predictions: Array, labels: Array, weights: Array | None = None) -> Array:
    """Count how often each choice was predicted where another one, or itself, was right.

    Args:
        predictions: (examples,) indices of choices.
        labels: (examples,) indices of choices.
        weights: (samples, examples), or None for each example once.

    Returns:
        ([samples,] choices, choices) float64: [right choice, predicted choice].
    """
    size = 1 + int(max(predictions.max(), labels.max()))
    cells = np.zeros((len(labels), size * size))  # (examples, choices * choices)
    cells[np.arange(len(labels)), labels * size + predictions] = 1
    counts: Array = cells.sum(0) if weights is None else weights @ cells
    return counts.reshape(*counts.shape[:-1], size, size)
