"""Bytes in memory: weights and cached keys in inference; gradients, optimiser state and activations in training."""

from dataclasses import dataclass
from typing import Literal

from peftbench.costs import count
from peftbench.costs.backward import Walk
from peftbench.costs.count import Query
from peftbench.methods.base import FLOAT32_BYTES, Added
from peftbench.methods.parts import places
from peftbench.models.shapes import Sizes

Optimizer = Literal["adafactor", "adamw"]
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class TrainingMemory:
    """What training holds at once, in bytes; the peak lies near the sum.

    Args:
        weights: The model's, and what the method added.
        gradients: Of what is trained, float32.
        optimizer: The optimiser's state, float32, and float32 copies of half-precision weights that are trained.
        activations: Values kept for the backward pass; an estimate.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.gradients + self.optimizer + self.activations


def training(
    sizes: Sizes,
    num_parameters: int,
    query: Query,
    added: Added,
    *,
    batch_size: int,
    bytes_per_value: int,
    optimizer: Optimizer,
) -> TrainingMemory:
    """Count the memory of one training step.

    Args:
        sizes: The model's shapes.
        num_parameters: Parameters of the bare model.
        query: Token lengths of an example.
        added: What the method adds and trains.
        batch_size: Examples per step.
        bytes_per_value: Of the model's weights and activations.
        optimizer: Whose state.
    """
    trained = added.num_trained(num_parameters)
    own = _own_matrices(sizes, added, trained)
    copies = trained if own and bytes_per_value < FLOAT32_BYTES else 0
    changed = 0 if own else sum(k * n for k, n in _matrices(sizes, added))  # what lies over a matrix gives a new one
    return TrainingMemory(
        weights=num_parameters * bytes_per_value + (0 if own else trained * FLOAT32_BYTES),
        gradients=trained * FLOAT32_BYTES,
        optimizer=FLOAT32_BYTES * (_state(added, own, trained, optimizer) + copies),
        activations=bytes_per_value * (batch_size * num_activations(sizes, query, added) + changed),
    )


def num_activations(sizes: Sizes, query: Query, added: Added) -> int:
    """Estimate how many values an example's forward pass keeps for the backward pass.

    Per token: d_model before the norm of each block; queries, keys, values and their weighted sum in attention; inputs
    and outputs of the activation in feed-forward blocks, and both factors of a gated one. The logits besides. Only of
    blocks that are run backward; fused attention, so that no scores are kept; small vectors are left out.
    """
    stream = count.stream(sizes, query, added)
    d_attention, total = sizes.num_heads * sizes.d_kv, stream.head * sizes.vocab_size
    for block in Walk(sizes, stream, added).run().run_backward:
        tokens = stream.tokens[block.stack]
        if block.block == "ff":
            total += tokens * (sizes.d_model + (3 if sizes.gated else 2) * sizes.d_ff)
        else:
            keys = stream.tokens["cross"] if block.block == "cross" else tokens
            total += tokens * (sizes.d_model + 2 * d_attention) + keys * 2 * d_attention
    return total


def _own_matrices(sizes: Sizes, added: Added, trained: int) -> list[tuple[int, int]]:
    """List the model's own matrices that are parameters of the training; none where something small lies over them."""
    matrices = _matrices(sizes, added)
    is_freed = added.saved_bytes is None and sum(k * n for k, n in matrices) <= trained
    return matrices if is_freed else []


def _matrices(sizes: Sizes, added: Added) -> list[tuple[int, int]]:
    """List the model's own matrices that get a gradient."""
    shapes = {linear.place: linear for role in places.LINEAR for linear in places.linears(sizes, role)}
    matrices = [(shapes[place].k, shapes[place].n) for place in added.weights]
    return matrices + ([(sizes.vocab_size, sizes.d_model)] if added.embeddings else [])


def _state(added: Added, own: list[tuple[int, int]], trained: int, optimizer: Optimizer) -> int:
    """Count the optimiser's values: two for each trained one, or Adafactor's one per row and column of a matrix."""
    if optimizer == "adamw":
        return 2 * trained
    matrices = [(op.k, op.n) for op in added.ops if op.trained] + own
    factored = sum(k * n for k, n in matrices)
    if factored > trained:  # matrices that are made of smaller parameters (Kronecker products)
        return trained
    return trained - factored + sum(k + n for k, n in matrices)
