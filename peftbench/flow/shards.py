"""Cells dealt to several runs: other machines, other terminals, the tasks of an array job."""

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.errors import RecipeError
from peftbench.flow import effort
from peftbench.spec.cell import Cell

MOST = 100_000
SLACK = 1.02
"""Cells of the same weights stay together as long as no part has more than this times its due."""


@dataclass(frozen=True)
class Shard:
    """One of so many parts of a run's cells.

    Args:
        number: Which one, from 1.
        of: How many there are.
    """

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> "Shard":
        """Read "2/4".

        Raises:
            RecipeError: It is no such part.
        """
        number, slash, of = text.partition("/")
        if not (slash and all(part.isascii() and part.isdecimal() and len(part) < 7 for part in (number, of))):
            raise RecipeError(f"--shard '{text[:40]}' is no part of a run", hint="--shard 2/4: the second of four")
        shard = cls(int(number), int(of))
        if not 1 <= shard.number <= shard.of <= MOST:
            hint = f"the first of {shard.of} is --shard 1/{shard.of}" if 0 < shard.of <= MOST else "--shard 1/4"
            raise RecipeError(f"--shard {text}: there is no part {shard.number} of {shard.of}", hint=hint)
        return shard

    def take(self, cells: Sequence[Cell]) -> list[Cell]:
        """Deal cells to all parts, and return what this part gets, those of the same weights one after the other.

        What a part gets hangs on nothing but the cells and the shapes of their models: not on records that are there.
        """
        return deal(cells, self.of)[self.number - 1]


def deal(cells: Sequence[Cell], number: int) -> list[list[Cell]]:
    """Deal cells to parts of about the same FLOPs, those of the same weights to as few parts as that allows.

    The weights that cost most come first. Their cells, the costliest first, go to the part that has least so far, of
    one part, of two, of more, until none is above its due. Cells that tune the same stay together, as one. Cells of a
    model whose shape is not known go to all parts. No part is empty as long as there are cells for all.

    Args:
        cells: All cells.
        number: Parts.

    Returns:
        The cells of each part.
    """
    units, estimates = effort.alike(cells), effort.estimates(cells, unknown=1.0)
    costs = [sum(estimates[place] for place in unit) for unit in units]
    due = SLACK * max(sum(costs) / number, max(costs, default=0.0))
    of_weights: dict[tuple[object, ...], list[int]] = {}
    for index, unit in enumerate(units):
        of_weights.setdefault(cells[unit[0]].weights, []).append(index)
    parts: list[list[int]] = [[] for _ in range(number)]
    loads = [0.0] * number
    groups = sorted(of_weights.values(), key=lambda group: -sum(costs[index] for index in group))
    for group in sorted(groups, key=lambda group: _is_known(cells[units[group[0]][0]])):
        width = 1 if _is_known(cells[units[group[0]][0]]) else len(group)
        for index, part in _dealt(group, costs, loads, due, width).items():
            parts[part].append(index)
            loads[part] += costs[index]
    _fill(parts, costs)
    turn = {index: number for number, index in enumerate(itertools.chain.from_iterable(of_weights.values()))}
    return [[cells[place] for index in sorted(part, key=turn.__getitem__) for place in units[index]] for part in parts]


def _is_known(cell: Cell) -> bool:
    return effort.flops(cell) is not None


def _dealt(
    group: Sequence[int], costs: Sequence[float], loads: Sequence[float], due: float, width: int
) -> dict[int, int]:
    """Deal what has the same weights to as few of the parts as keep all within their due.

    Args:
        group: Its numbers.
        costs: Of all that is dealt, by number.
        loads: What each part has so far.
        due: The most that a part should have.
        width: Parts that are tried first.

    Returns:
        Number -> part.
    """
    order = sorted(group, key=lambda index: (-costs[index], index))
    emptiest = sorted(range(len(loads)), key=lambda part: (loads[part], part))
    most = min(len(loads), len(group))
    while True:
        width = min(width, most)
        heap = [(loads[part], part) for part in emptiest[:width]]
        parts = {}
        for index in order:
            load, part = heap[0]
            parts[index] = part
            heapq.heapreplace(heap, (load + costs[index], part))
        if width == most or max(heap)[0] <= due:
            return parts
        width += width // 4 + 1


def _fill(parts: list[list[int]], costs: Sequence[float]) -> None:
    """Move to each empty part the cheapest of the part that has most."""
    for empty in (part for part in parts if not part):
        fullest = max(parts, key=len)
        if len(fullest) < 2:
            return
        empty.append(min(fullest, key=costs.__getitem__))
        fullest.remove(empty[0])
