"""How many threads a CPU computes on."""

from dataclasses import dataclass

import torch

# Below this many parameters a CPU computes on one thread. Shared matrices of that size gain nothing, and on a machine
# that does other work besides, threads that wait for each other at every operator cost a multiple (8 x, measured).
SMALL = 20_000_000
ALL_THREADS = torch.get_num_threads()


@dataclass
class Threads:
    """The threads of models that are loaded from now on.

    Args:
        number: None suits each model's size.
        most: What suits a large one.
    """

    number: int | None = None
    most: int = ALL_THREADS

    def suit(self, num_parameters: int) -> None:
        """Set torch's threads for a model."""
        torch.set_num_threads(self.number or (1 if num_parameters < SMALL else self.most))


THREADS = Threads()
