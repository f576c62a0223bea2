"""What is trained, as far as memory depends on it: matrices, and the optimiser's state for them."""

from functools import cached_property
from typing import Literal

from peftbench.methods.base import Added
from peftbench.methods.parts import places
from peftbench.models.shapes import Sizes

Optimizer = Literal["adafactor", "adamw"]


class Trained:
    """The parameters that a method trains on a model.

    Args:
        sizes: The model's shapes.
        added: What the method adds and trains.
        num_parameters: Of the bare model.
    """

    def __init__(self, sizes: Sizes, added: Added, num_parameters: int) -> None:
        self._sizes, self._added = sizes, added
        self.number = added.num_trained(num_parameters)
        """Values that are trained."""

    @cached_property
    def own(self) -> list[tuple[int, int]]:
        """The model's own matrices that are parameters of the training; none where something small lies over them."""
        is_freed = self._added.saved_bytes is None and self._num_own <= self.number
        return self._matrices if is_freed else []

    @property
    def num_over(self) -> int:
        """Values of the matrices that what lies over the model's own makes of them."""
        return 0 if self.own else self._num_own

    @property
    def largest(self) -> int:
        """Values of the largest matrix that is trained."""
        return max((k * n for k, n in self._trained), default=0)

    def state(self, optimizer: Optimizer) -> int:
        """Count the optimiser's values: two for each trained one, or Adafactor's one per row and column of a matrix."""
        if optimizer == "adamw":
            return 2 * self.number
        factored = sum(k * n for k, n in self._trained)
        if factored > self.number:  # matrices that are made of smaller parameters (Kronecker products)
            return self.number
        return self.number - factored + sum(k + n for k, n in self._trained)

    @property
    def _trained(self) -> list[tuple[int, int]]:
        return [(op.k, op.n) for op in self._added.ops if op.trained] + self.own

    @property
    def _num_own(self) -> int:
        return sum(k * n for k, n in self._matrices)

    @cached_property
    def _matrices(self) -> list[tuple[int, int]]:
        """The model's own matrices that get a gradient."""
        shapes = {linear.place: linear for role in places.LINEAR for linear in places.linears(self._sizes, role)}
        matrices = [(shapes[place].k, shapes[place].n) for place in self._added.weights]
        return matrices + ([(self._sizes.vocab_size, self._sizes.d_model)] if self._added.embeddings else [])
