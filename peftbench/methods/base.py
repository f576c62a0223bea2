"""The method protocol: what a file in this folder offers, and the data that costs are counted from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from peftbench.models.backbone import Backbone, Sizes


class MethodConfig(BaseModel):
    """A method's own settings, named as in its paper; frozen, and unknown names are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Op:
    """One matmul that a method adds: (tokens, k) @ (k, n) -> (tokens, n), 2 * tokens * k * n FLOPs.

    Args:
        tokens: Which tokens pass through it: those of the "encoder", of the "decoder" (for decoder-only models
            all tokens), or "cross": the encoder's tokens at the decoder's cross-attention keys and values.
        layer: Layer index in its stack; what lies below the first adapted layer needs no backward pass.
        k: Features that go in.
        n: Features that come out.
        mergeable: Whether `merge` folds it away, so that inference does not pay for it.
    """

    tokens: Literal["encoder", "decoder", "cross"]
    layer: int
    k: int
    n: int
    mergeable: bool


@dataclass(frozen=True)
class Added:
    """What a method adds to a model, as data; parameters, FLOPs and bytes follow from it.

    Args:
        num_parameters: Parameters that the method adds or frees: what is trained and saved; None: all of the model's
            own (full fine-tuning), which the sizes alone do not number.
        ops: Matmuls, per token.
        extra_tokens: Virtual tokens before the input (prompt tuning): they pass through every layer.
        extra_keys: Virtual keys and values per attention block (prefix tuning): attended to, never computed.
        first_layer: Lowest adapted (stack, layer); None where the gradient runs down to the embeddings.
    """

    num_parameters: int | None
    ops: tuple[Op, ...] = ()
    extra_tokens: int = 0
    extra_keys: int = 0
    first_layer: tuple[Literal["encoder", "decoder"], int] | None = None


class Method(Protocol):
    """A method is a module with these names; its docstring's first line is what `peftbench list methods` shows."""

    PAPER: str
    IDENTITY_AT_INIT: bool
    DEAD: Mapping[str, str]
    """Regular expression over parameter names -> why those can get no gradient."""
    DEFAULTS: Mapping[str, Any]
    """Fields of `recipe.Training` with which the method learns; the rest is the recipe's."""
    Config: type[MethodConfig]

    def attach(self, backbone: Backbone, config: Any) -> list[str]:
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

    def merge(self, backbone: Backbone) -> None:
        """Fold the method into the backbone's weights; the module's `merge` is None where the algebra forbids it."""
        ...
