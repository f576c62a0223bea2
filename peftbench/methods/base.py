"""The method protocol: what a file in this folder offers, and the data that costs are counted from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from peftbench.models.shapes import Role, Sizes, Stack

if TYPE_CHECKING:
    from peftbench.models.backbone import Backbone


class MethodConfig(BaseModel):
    """A method's own settings, named as in its paper; frozen, and unknown names are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Place:
    """A spot in the model's computation, by shape alone; `Site` is the same in a loaded model.

    Args:
        stack: "decoder" for decoder-only models.
        layer: Layer index in its stack.
        block: Part of the layer: self-attention, cross-attention or feed-forward.
        role: As of a `Site`; "norm" is the norm before the block.
        side: What is acted on: the "output" of the role's linear layer, or what only that layer takes as "input".
            "ff_hidden" is the input of "ff_out".
    """

    stack: Stack
    layer: int
    block: Literal["self", "cross", "ff"]
    role: Role
    side: Literal["input", "output"] = "output"

    @property
    def tokens(self) -> Literal["encoder", "decoder", "cross"]:
        """Whose tokens pass: those of the stack, and "cross" where the decoder takes keys and values of the encoder."""
        return "cross" if self.block == "cross" and self.role in ("k", "v") else self.stack


@dataclass(frozen=True)
class Op:
    """One matmul that a method adds: (tokens, k) @ (k, n) -> (tokens, n), 2 * tokens * k * n FLOPs.

    Going backward it costs as much again for the gradient of what it reads, where something trained lies before that,
    and as much again for the gradient of its matrix, where that is trained.

    Args:
        place: Where; None for a matmul that belongs to no one place, which must have `rows`.
        k: Features that go in.
        n: Features that come out.
        mergeable: Whether `merge` folds it away, so that inference does not pay for it.
        reads: What goes in: the "input" of the linear layer at the place (LoRA's A), the "values" there (an adapter's
            first matrix), or what something "trained" has made (LoRA's B, an adapter's second matrix).
        trained: Whether its matrix is trained.
        rows: Rows where they are not tokens, as in products of weights with weights: run once per forward pass,
            whatever the batch.
        training_only: Whether it is gone after training (`finish`), or is part of a penalty.
    """

    place: Place | None
    k: int
    n: int
    mergeable: bool
    reads: Literal["input", "values", "trained"] = "values"
    trained: bool = True
    rows: int | None = None
    training_only: bool = False

    @property
    def tokens(self) -> Literal["encoder", "decoder", "cross"] | None:
        """Whose tokens pass through it; None where its rows are no tokens."""
        return None if self.rows is not None or self.place is None else self.place.tokens


@dataclass(frozen=True)
class Added:
    """What a method adds to a model, as data; parameters, FLOPs forward and backward, and bytes follow from it.

    Args:
        num_parameters: Parameters that the method adds or frees: what is trained; None: as many as `share` says of the
            model's own, which the sizes alone do not number.
        ops: Matmuls; where they stand something trainable stands.
        places: Where else something trainable acts (vectors, norms, virtual keys): from here on values need gradients.
        weights: The model's own matrices that get a gradient, freed or seen through an overlay.
        embeddings: Whether the embedding matrix gets a gradient.
        head: Whether the LM head's matrix gets one; where it is tied to the embeddings, as these.
        extra_tokens: Virtual tokens before the input (prompt tuning): they pass through every layer.
        extra_keys: Virtual keys and values per attention block (prefix tuning): attended to, never computed.
        num_members: Members of an ensemble: each example is run once for each, in inference and in training.
        looks: How often `prepare` runs each shot before the first step, forward and backward, with a step's gradients.
        share: Trained values per parameter of the model, where num_parameters is None; 1: all of them.
        saved_bytes: Bytes of the tensors that are saved, where `finish` leaves something else than what was trained in
            float32; per parameter of the model where num_parameters is None.
    """

    num_parameters: int | None
    ops: tuple[Op, ...] = ()
    places: tuple[Place, ...] = ()
    weights: tuple[Place, ...] = ()
    embeddings: bool = False
    head: bool = False
    extra_tokens: int = 0
    extra_keys: int = 0
    num_members: int = 1
    looks: int = 0
    share: float = 1.0
    saved_bytes: float | None = None

    def num_trained(self, num_model_parameters: int) -> int:
        """Give the number of trained values, on a model of so many parameters."""
        return int(self.share * num_model_parameters) if self.num_parameters is None else self.num_parameters

    def num_saved_bytes(self, num_model_parameters: int) -> int:
        """Give the bytes of the tensors that are saved."""
        if self.saved_bytes is None:
            return FLOAT32_BYTES * self.num_trained(num_model_parameters)
        return round(self.saved_bytes * (num_model_parameters if self.num_parameters is None else 1))

    @property
    def first_layer(self) -> tuple[Stack, int] | None:
        """Lowest adapted (stack, layer); None where the gradient runs down to what enters the lowest one."""
        if self.extra_tokens or self.embeddings:
            return None
        acting = [*self.places, *self.weights, *(op.place for op in self.ops if op.place)]
        lowest = min(acting, key=lambda place: (place.stack == "decoder", place.layer), default=None)
        return None if lowest is None else (lowest.stack, lowest.layer)


class Method(Protocol):
    """A method is a module with these names; its docstring's first line is what `peftbench list methods` shows."""

    PAPER: str
    IDENTITY_AT_INIT: bool
    DEAD: Mapping[str, str]
    """Regular expression over parameter names -> why those can get no gradient."""
    DEFAULTS: Mapping[str, Any]
    """Fields of `recipe.Training` with which the method learns; the rest is the recipe's."""
    Config: type[MethodConfig]

    def attach(self, backbone: "Backbone", config: Any) -> list[str]:
        """Insert the method in place.

        Returns:
            Full names of the parameters that it added or freed: all that trains, is saved and is counted.

        Raises:
            MethodError: A role that the method needs matches nothing in this backbone.
        """
        ...

    def added(self, sizes: Sizes, config: Any) -> Added:
        """Give what `attach` adds, from the sizes alone."""
        ...

    def merge(self, backbone: "Backbone") -> None:
        """Fold the method into the backbone's weights.

        Where the algebra forbids it the module's `merge` is None, and its UNMERGEABLE says why.
        """
        ...
