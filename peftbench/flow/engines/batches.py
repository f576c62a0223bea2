"""Batches: cells with the same weights, as many as are worth loading a model, and no more than may be lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peftbench.flow import effort
from peftbench.flow.rate import ASSUMED_FLOPS_PER_SECOND
from peftbench.spec.cell import Cell

MOST_SECONDS = 1800.0
"""Of a batch of more than one cell."""
BATCHES_PER_WORKER = 4
"""So many, where they are long enough, that all workers end at about the same time."""
UNKNOWN_SECONDS = 60.0
"""Of a cell, where the shape of no model is known."""


@dataclass(frozen=True)
class Batch:
    """Cells with the same weights.

    Args:
        places: Which of all cells they are, from 0.
        cells: In their order.
        seconds: What each of them takes, roughly.
    """

    places: tuple[int, ...]
    cells: tuple[Cell, ...]
    seconds: tuple[float, ...]

    @property
    def total(self) -> float:
        """Seconds of all its cells."""
        return sum(self.seconds)

    def only(self, places: Sequence[int]) -> "Batch":
        """Return the batch with some of its cells."""
        rest = [part for part in zip(self.places, self.cells, self.seconds, strict=True) if part[0] in places]
        return Batch(*zip(*rest, strict=True))


def batches(cells: Sequence[Cell], num_workers: int, least_seconds: float) -> list[Batch]:
    """Cut cells into batches, each with the same weights, the longest first; what tunes the same stays together.

    Args:
        cells: All cells.
        num_workers: Batches that are run at a time; there are as many at least, where there are cells enough.
        least_seconds: A batch is no shorter, where its cells and `num_workers` allow that.
    """
    estimates = effort.estimates(cells, unknown=UNKNOWN_SECONDS * ASSUMED_FLOPS_PER_SECOND)
    seconds = [flops / ASSUMED_FLOPS_PER_SECOND for flops in estimates]
    total = sum(seconds)
    longest = min(MOST_SECONDS, max(least_seconds, total / (BATCHES_PER_WORKER * num_workers)), total / num_workers)
    of_weights: dict[tuple[Any, ...], list[list[int]]] = {}
    for places in effort.alike(cells):
        of_weights.setdefault(cells[places[0]].weights, []).append(places)
    parts: list[list[int]] = []
    for groups in of_weights.values():
        part: list[int] = []
        for places in groups:
            if part and sum(seconds[place] for place in (*part, *places)) > longest:
                parts.append(part)
                part = []
            part = [*part, *places]
        parts.append(part)
    cut = [Batch(tuple(part), tuple(cells[i] for i in part), tuple(seconds[i] for i in part)) for part in parts]
    return sorted(cut, key=lambda batch: -batch.total)
