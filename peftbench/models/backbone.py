"""A backbone: a loaded transformer with named places where methods attach. It knows no method."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

Role = Literal["q", "k", "v", "o", "ff_gate", "ff_up", "ff_out", "ff_hidden"]
Stack = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Sizes:
    """Shapes of a transformer, enough to count its matmuls; names as in Hugging Face's T5 config.

    Args:
        num_encoder_layers: 0 for decoder-only models.
        num_kv_heads: Fewer than num_heads under grouped-query attention.
        gated: Whether the feed-forward block has a gate (two matrices in, one out).
    """

    is_encoder_decoder: bool
    num_encoder_layers: int
    num_decoder_layers: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    num_kv_heads: int
    gated: bool
    vocab_size: int


@dataclass(frozen=True)
class Site:
    """A place where a method can act: one side of a linear layer, or a slice of it where the model fuses several.

    Args:
        role: What the layer does in the paper's terms; "ff_hidden" is the input side of the second feed-forward matmul.
        module: Full name of the linear (or Conv1D) module.
        side: Whether the site is the module's "input" or its "output".
        start: First feature of the slice on that side.
        stop: One past the last feature of the slice.
        in_features: Features that go into the whole module.
        stack: Which stack the layer belongs to; "decoder" for decoder-only models.
        layer: Layer index in its stack.
        attention: Which attention block the layer belongs to; None for feed-forward layers.
    """

    role: Role
    module: str
    side: Literal["input", "output"]
    start: int
    stop: int
    in_features: int
    stack: Stack
    layer: int
    attention: Literal["self", "cross"] | None

    @property
    def features(self) -> int:
        """Number of features at the site."""
        return self.stop - self.start

    @property
    def tokens(self) -> Literal["encoder", "decoder", "cross"]:
        """Whose tokens pass: cross-attention's keys and values are computed from the encoder's."""
        return "cross" if self.attention == "cross" and self.role in ("k", "v") else self.stack


@dataclass(frozen=True)
class Attention:
    """One attention block, where a prefix of keys and values can be put."""

    module: str
    stack: Stack
    layer: int
    kind: Literal["self", "cross"]
    num_kv_heads: int
    d_kv: int
