"""What a metric of choices is: a number from predicted and right choices, with its unit, direction and chance level.

Shapes: examples are rows of a task under one template; choices are the answer choices, or classes, by their index;
samples are sets of examples drawn from the same ones, as a bootstrap draws them.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Scale:
    """What a table must know of a metric's values.

    Args:
        name: In the registry.
        title: As the head of a column names it.
        unit: In which `scale` times its value is shown.
        higher_is_better: Its direction.
        lowest: Its least value.
        scale: What a value is multiplied by where it is shown: 100 for a share that is shown in per cent.
        decimals: With which it is shown, as papers do.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool
    _: KW_ONLY
    lowest: float = 0.0
    scale: float = 100.0
    decimals: int = 1

    @property
    def difference_unit(self) -> str:
        """Of what one value is more than another: points, or the metric itself, as in "0.3 more CIDEr"."""
        return "points" if self.unit in ("%", "points") else self.title


@dataclass(frozen=True)
class Metric(Scale):
    """A metric of rank classification: a function of how often each choice was predicted for each right one.

    Args:
        value: (..., choices, choices) counts as `confusion` gives them -> (...,) values, at most 1.
        chance: (labels, number of choices of each example) -> its value where each choice is guessed equally often.
    """

    value: Callable[[Array], Array]
    chance: Callable[[Sequence[int], Sequence[int]], float]

    def of(self, predictions: Sequence[int] | Array, labels: Sequence[int] | Array) -> float:
        """Compute the value of predictions, (examples,) indices of choices, against labels of the same shape."""
        return float(self.value(confusion(np.asarray(predictions), np.asarray(labels))))

    def of_majority(self, num_labelled: Sequence[int]) -> float:
        """Compute the value of always giving the most frequent answer.

        Args:
            num_labelled: (choices,), how often each choice is right.
        """
        counts = np.zeros((len(num_labelled), len(num_labelled)))
        counts[:, np.argmax(num_labelled)] = num_labelled
        return float(self.value(counts))


def confusion(predictions: Array, labels: Array, weights: Array | None = None, num_choices: int | None = None) -> Array:
    """Count how often each choice was predicted where another one, or itself, was right.

    Args:
        predictions: (examples,) indices of choices.
        labels: (examples,) indices of choices.
        weights: (samples, examples), the times that an example stands in a sample; None for each example once.
        num_choices: How many there are; None for as many as occur.

    Returns:
        ([samples,] choices, choices) float64: [right choice, predicted choice].
    """
    size = num_choices or 1 + int(max(predictions.max(), labels.max()))
    cells = np.zeros((len(labels), size * size))  # (examples, choices * choices)
    cells[np.arange(len(labels)), labels * size + predictions] = 1
    counts: Array = cells.sum(0) if weights is None else weights @ cells
    return counts.reshape(*counts.shape[:-1], size, size)
