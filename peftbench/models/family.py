"""What a file in `families/` offers, with a default for what most families do not need."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

from peftbench.models.shapes import Attention, Elementwise, Layer, Site, Sizes

if TYPE_CHECKING:
    from torch import Tensor


def no_window(config: Any) -> int | None:
    """Return None: attention looks back to the first token."""
    return None


def logits(model: Any, hidden: "Tensor") -> "Tensor":
    """Compute the logits with the LM head alone.

    Args:
        model: The transformers model.
        hidden: (tokens, d_model), the stack's last hidden states.

    Returns:
        (tokens, vocab_size) float32.
    """
    return model.get_output_embeddings()(hidden).float()


def elementwise(table: Mapping[str, Any]) -> Elementwise:
    """Read the activation function, the exact GELU where the table names none; norms are torch's layer norms."""
    return Elementwise(activation(table, "gelu"))


def activation(table: Mapping[str, Any], default: str) -> str:
    """Return the name of the activation function in the fields of a config.json."""
    name: str = table.get("hidden_act") or table.get("activation_function") or default
    return name


def one_start(config: Any) -> list[int]:
    """List the one token that a decoder of an encoder-decoder starts from."""
    return [config.decoder_start_token_id]


def zero(config: Any) -> int:
    """Return 0: positions are counted from there."""
    return 0


def mask(config: Any, seen: "Tensor", dtype: Any) -> Any:
    """Build the additive mask of an encoder's rows: each token sees all tokens.

    It is built here because transformers looks at values to build its own, which a traced model may not have.

    Args:
        config: The model's.
        seen: (rows, tokens), 1 at a token, 0 at padding.
        dtype: Of the mask.

    Returns:
        (rows, 1, tokens, tokens), 0 or the dtype's lowest.
    """
    import torch

    hidden = (seen == 0)[:, None, None].expand(-1, -1, seen.shape[1], -1)
    return torch.zeros(hidden.shape, dtype=dtype, device=seen.device).masked_fill(hidden, torch.finfo(dtype).min)


def not_placed(decoder: Any, positions: "Tensor") -> AbstractContextManager[None]:
    """Change nothing: positions are the attention's."""
    return nullcontext()


def hand_on(layer: Any, states: "Tensor", args: tuple[Any, ...]) -> Any:
    """Return the states alone, as most families' layers do.

    Args:
        layer: Which is not run.
        states: (rows, tokens, d_model), in the place of its own.
        args: What it takes behind the states that enter it.
    """
    return states


def leave(model: Any) -> None:
    """Leave the model as it was loaded."""


@dataclass(frozen=True)
class Family:
    """A family of backbones: the functions of its file.

    Args:
        UNDEFINED: What is not defined on it -> why.
        HEADS: Names of the modules that make up the head of a masked model; none of models that write text.
        UNREAD: What names of weights begin with that checkpoints hold and nothing here reads.
        sizes: Config -> shapes.
        max_positions: Config -> tokens that the model was made for; None where there is no limit.
        sites: Shapes -> the sites of all roles.
        attentions: Shapes -> the attention blocks, encoder first.
        layers: Shapes -> the layers, encoder first.
        window: Config -> how many tokens back attention looks in its windowed layers; None where there are none.
        start: Config -> the tokens that an encoder-decoder's decoder starts from.
        first_position: Config -> the position of a text's first token in the model's own count.
        head: (model, hidden states (tokens, d_model)) -> logits (tokens, vocab_size) float32.
        placed: (decoder of an encoder-decoder, positions (rows, tokens)) -> a context in which its tokens are embedded
            at these positions.
        skipped: (layer, states, what it takes behind those that enter it) -> what the layer returns with these states.
        elementwise: Fields of config.json -> what is computed value by value, as far as memory depends on it.
        mask: (config, which are tokens (rows, tokens), type) -> the mask that an encoder-only model takes.
        rewire: Gives the model this package's attention where transformers does not.
    """

    UNDEFINED: Mapping[str, str]
    sizes: Callable[[Any], Sizes]
    max_positions: Callable[[Any], int | None]
    sites: Callable[[Sizes], list[Site]]
    attentions: Callable[[Sizes], list[Attention]]
    layers: Callable[[Sizes], list[Layer]]
    window: Callable[[Any], int | None] = no_window
    start: Callable[[Any], list[int]] = one_start
    first_position: Callable[[Any], int] = zero
    head: Callable[[Any, "Tensor"], "Tensor"] = logits
    placed: Callable[[Any, "Tensor"], AbstractContextManager[None]] = not_placed
    skipped: Callable[[Any, "Tensor", tuple[Any, ...]], Any] = hand_on
    elementwise: Callable[[Mapping[str, Any]], Elementwise] = elementwise
    mask: Callable[[Any, "Tensor", Any], Any] = mask
    rewire: Callable[[Any], None] = leave
    HEADS: tuple[str, ...] = ()
    UNREAD: tuple[str, ...] = ()

    @property
    def head_names(self) -> tuple[str, ...]:
        """What the names of the head's parameters begin with."""
        return tuple(f"{name}." for name in self.HEADS)

    @classmethod
    def of(cls, module: ModuleType) -> Self:
        """Collect what a family's file offers."""
        names = [field.name for field in fields(cls) if hasattr(module, field.name)]
        return cls(**{name: getattr(module, name) for name in names})
