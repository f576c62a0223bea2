"""The method seam: what a file in this folder offers, and the data that costs are counted from. No torch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from peftbench.models.shapes import Role, Sizes, Stack

if TYPE_CHECKING:
    from torch import Tensor

    from peftbench.methods.parts.peft_form import PeftForm
    from peftbench.methods.stages import Loss, Shots
    from peftbench.models.backbone import Backbone


class MethodConfig(BaseModel):
    """A method's own settings, named as in its paper; frozen, and unknown names are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Place:
    """A place in the model's computation, by shape alone; `Site` is the same in a loaded model.

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
        factors: Those of the places whose values are multiplied by what is trained: the backward pass needs them.
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
    factors: tuple[Place, ...] = ()
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
        """Count the trained values, on a model of `num_model_parameters`."""
        return int(self.share * num_model_parameters) if self.num_parameters is None else self.num_parameters

    def num_saved_bytes(self, num_model_parameters: int) -> int:
        """Count the bytes of the tensors that are saved."""
        if self.saved_bytes is None:
            return FLOAT32_BYTES * self.num_trained(num_model_parameters)
        return round(self.saved_bytes * (num_model_parameters if self.num_parameters is None else 1))

    @property
    def flowing(self) -> "Added":
        """The same with those matmuls alone whose rows are tokens."""
        return replace(self, ops=tuple(op for op in self.ops if op.rows is None))

    @property
    def fixed(self) -> tuple[Op, ...]:
        """The matmuls whose rows are no tokens, once per forward pass."""
        return tuple(op for op in self.ops if op.rows is not None)

    @property
    def first_layer(self) -> tuple[Stack, int] | None:
        """Lowest adapted (stack, layer); None where the gradient runs down to what enters the lowest one."""
        if self.extra_tokens or self.embeddings:
            return None
        acting = [*self.places, *self.weights, *(op.place for op in self.ops if op.place)]
        lowest = min(acting, key=lambda place: (place.stack == "decoder", place.layer), default=None)
        return None if lowest is None else (lowest.stack, lowest.layer)


class Method:
    """A method as the rest of the package sees it: what its module offers, and a default for what it leaves out.

        attach -> prepare -> (penalty -> backward -> before_step -> optimiser -> after_step) x num_steps -> finish

    A method's module holds plain names, and `Method.of` puts them in the place of those here: PAPER, IDENTITY_AT_INIT,
    DEAD, DEFAULTS, Config, attach, added and merge it must have, the others are hooks with defaults. Its docstring's
    first line is what `peftbench list methods` shows.
    """

    REQUIRED: ClassVar = ("PAPER", "IDENTITY_AT_INIT", "DEAD", "DEFAULTS", "Config", "attach", "added", "merge")
    OPTIONAL: ClassVar = ("UNMERGEABLE", "PEFT")

    name: str
    """As in the registry."""
    PAPER: str
    IDENTITY_AT_INIT: bool
    """Whether the untrained method leaves the model's outputs as they were, bit for bit."""
    DEAD: Mapping[str, str]
    """Regular expression over parameter names -> why those can get no gradient."""
    DEFAULTS: Mapping[str, Any]
    """Fields of `spec.cell.Training` with which the method learns; the rest is the recipe's."""
    Config: type[MethodConfig]
    merge: "Callable[[Backbone], None] | None"
    """Fold the method into the backbone's weights; None where the algebra forbids it, and UNMERGEABLE says why."""
    UNMERGEABLE: str = ""
    PEFT: "PeftForm | None" = None
    """The method's adapters in the layout of the peft library; None where peft computes nothing like it."""

    @staticmethod
    def of(name: str, module: Any) -> "Method":
        """Wrap a method's module.

        Args:
            name: As in the registry.
            module: The module, or anything with the same names.

        Raises:
            TypeError: A required name is missing, a public function is no hook, or one takes other parameters than the
                hook of its name.
        """
        offered = vars(module)
        if missing := [field for field in Method.REQUIRED if field not in offered]:
            raise TypeError(f"method '{name}' lacks {', '.join(missing)}")
        if strays := [field for field in offered if _is_stray(field, offered)]:
            raise TypeError(f"method '{name}': {strays[0]} is no hook; hooks: {', '.join(PARAMETERS)}")
        method = Method()
        method.name, method.__doc__ = name, module.__doc__
        for field in {*Method.REQUIRED, *Method.OPTIONAL, *PARAMETERS} & offered.keys():
            if field in PARAMETERS and offered[field] is not None:  # merge may be
                _check_parameters(name, field, offered[field])
            setattr(method, field, offered[field])
        return method

    def attach(self, backbone: "Backbone", config: Any) -> list[str]:
        """Insert the method in place.

        Returns:
            Full names of the parameters that it added or freed: all that trains, is saved and is counted.

        Raises:
            MethodError: A role that the method needs matches nothing in this backbone.
        """
        raise NotImplementedError

    def added(self, sizes: Sizes, config: Any) -> Added:
        """Count what `attach` adds, from the sizes alone."""
        raise NotImplementedError

    def prepare(self, backbone: "Backbone", config: Any, shots: "Shots", loss: "Loss") -> None:
        """Look at the shots before the first step (FISH mask, a prompt that starts from labels)."""

    def penalty(self, backbone: "Backbone", config: Any) -> "Tensor | None":
        """Compute a scalar that is added to the loss (AdaLoRA's orthogonality, diff pruning's L0); None: nothing."""
        return None

    def before_step(self, backbone: "Backbone", config: Any, step: int, num_steps: int) -> None:
        """Use the gradients of step `step`, counted from 0, before the optimiser does."""

    def after_step(self, backbone: "Backbone", config: Any, step: int, num_steps: int) -> None:
        """Change the parameters after the optimiser's step `step` (AdaLoRA's budget)."""

    def finish(self, backbone: "Backbone", config: Any) -> list[str] | None:
        """Turn what was trained into what is used and saved.

        Returns:
            Full names of what is saved; None: of what `attach` returned.
        """
        return None

    def restore(self, backbone: "Backbone", config: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Insert what `finish` leaves, to be filled with a saved adapter's tensors.

        Args:
            backbone: With nothing attached.
            config: The method's settings.
            shapes: Full names of the saved tensors -> shapes.

        Returns:
            Full names of the parameters and buffers to be filled.
        """
        return self.attach(backbone, config)

    def added_finished(self, sizes: Sizes, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> Added:
        """Count what is added by the tensors that `finish` left, where it takes matmuls out; shapes as in `restore`."""
        return self.added(sizes, config)

    def resume_config(self, config: Any) -> Any:
        """Build the settings with which `attach` inserts what `finish` left (a folded network stays folded)."""
        return config

    def resume_tensors(self, backbone: "Backbone", tensors: "dict[str, Tensor]") -> "dict[str, Tensor]":
        """Bring a saved adapter's tensors into the shapes of what `attach` has inserted: full name -> tensor."""
        return tensors

    @property
    def prunes(self) -> bool:
        """Whether training decides how many matmuls `finish` leaves."""
        return "added_finished" in vars(self)


PARAMETERS: dict[str, list[str]] = {
    name: list(inspect.signature(hook).parameters)[1:]  # all but self
    for name, hook in vars(Method).items()
    if inspect.isfunction(hook)
} | {"merge": ["backbone"]}
"""What a method's module may offer as functions: name -> names of its parameters."""


def _is_stray(field: str, offered: Mapping[str, Any]) -> bool:
    """Tell whether a name is a public function of the module's own that nothing would ever call."""
    value = offered[field]
    is_own = inspect.isfunction(value) and value.__module__ == offered.get("__name__")
    return is_own and not field.startswith("_") and field not in PARAMETERS


def _check_parameters(method: str, field: str, function: Callable[..., Any]) -> None:
    actual = list(inspect.signature(function).parameters)
    if actual != PARAMETERS[field]:
        raise TypeError(f"method '{method}': {field} takes ({', '.join(actual)}), not ({', '.join(PARAMETERS[field])})")
