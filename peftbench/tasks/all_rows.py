"""`shots = "all"`: how many training rows there are to learn from, before a cell says which."""

import functools

from peftbench.spec.cell import Fold, TaskSpec
from peftbench.spec.recipe import NumShots
from peftbench.tasks import folds
from peftbench.tasks.load import load


class AllRows:
    """Says for which number of shots "all" stands; each task is read once."""

    def __init__(self) -> None:
        self._count = functools.cache(_count)

    def number(self, shots: NumShots, task: TaskSpec, fold: Fold | None, seed: int, pool: int | None = None) -> int:
        """Return a number of shots: of all, that of the training rows, or of the pool that shots are chosen from.

        All folds of a split have as many shots as the one with the fewest rows to learn from.

        Raises:
            TaskError: As `load`; rows that cannot be split so.
        """
        if shots != "all":
            return shots
        if pool is not None:
            return pool
        split = None if fold is None else (fold.of, fold.group, seed)
        return self._count(task, split)


def _count(task: TaskSpec, split: tuple[int, str | None, int] | None) -> int:
    if split is None:
        return len(load(task).train)
    num_folds, group, seed = split
    pool = folds.clustered(load(task, as_pool=True), group)
    return min(len(part.train) for part in folds.split(pool, num_folds, seed))
