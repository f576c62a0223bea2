"""Cells dealt to several runs: other machines, other terminals, the tasks of an array job."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from peftbench.errors import RecipeError
from peftbench.spec.cell import Cell

MOST = 100_000


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
        """Deal cells like cards, those of one model after those of another, and return what this part gets.

        Each part so gets cells of all kinds, as many as the others but for one. What a part gets hangs on nothing but
        the cells: not on records that are there.
        """
        of_model: dict[tuple[object, ...], list[Cell]] = {}
        for cell in cells:
            of_model.setdefault(cell.weights, []).append(cell)
        in_order = itertools.chain.from_iterable(of_model.values())
        return [cell for place, cell in enumerate(in_order) if place % self.of == self.number - 1]
