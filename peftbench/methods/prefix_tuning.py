"""Prefix tuning: learned keys and values before those of the tokens, in every attention block.

    softmax(q [P_k; k]^T / sqrt(d_k)) [P_v; v]          P_k, P_v: (num_kv_heads, num_virtual_tokens, d_kv)

On encoder-decoders in all three kinds: the encoder's self-attention, the decoder's self- and cross-attention.

Paper: 2101.00190, section 4.2.
Differs: the paper trains P through a shared MLP that is folded away afterwards (section 4.3); here keys and values are
    the parameters, so that what is trained is what is saved and counted. T-Few's code fits P to the activations of a
    text first.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.methods import places
from peftbench.methods.base import Added, MethodConfig
from peftbench.models.backbone import Backbone, Sizes

PAPER = "2101.00190, section 4.2"
IDENTITY_AT_INIT = False
DEAD: dict[str, str] = {}
DEFAULTS: dict[str, Any] = {"lr": 1e-2, "scale_parameter": False, "num_steps": 1000}

INIT_STD = 0.02


class Config(MethodConfig):
    """Settings of prefix tuning.

    Args:
        num_virtual_tokens: Keys and values per attention block.
    """

    num_virtual_tokens: int = Field(10, ge=1)


class Prefix(nn.Module):
    """Keys and values of one attention block, each (num_kv_heads, num_keys, d_kv)."""

    def __init__(self, num_kv_heads: int, num_keys: int, d_kv: int) -> None:
        super().__init__()
        self.k = nn.Parameter(INIT_STD * torch.randn(num_kv_heads, num_keys, d_kv))
        self.v = nn.Parameter(INIT_STD * torch.randn(num_kv_heads, num_keys, d_kv))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Give (P_k, P_v)."""
        return self.k, self.v


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Put a prefix before the keys and values of every attention block.

    Raises:
        MethodError: The backbone names no attention blocks.
    """
    blocks = backbone.attentions()
    if not blocks:
        raise MethodError(f"prefix tuning acts in attention blocks, and '{backbone.name}' has none")
    for block in blocks:
        backbone.insert_prefix(block, Prefix(block.num_kv_heads, config.num_virtual_tokens, block.d_kv))
    return [f"{block.module}.prefix.{part}" for block in blocks for part in ("k", "v")]


def added(sizes: Sizes, config: Config) -> Added:
    """Give 2 * num_virtual_tokens * num_kv_heads * d_kv parameters per attention block, and keys without tokens."""
    per_block = 2 * config.num_virtual_tokens * sizes.num_kv_heads * sizes.d_kv
    return Added(
        num_parameters=places.num_attentions(sizes) * per_block,
        extra_keys=config.num_virtual_tokens,
        first_layer=places.bottom(sizes),
    )


merge = None  # the prefix enters inside the softmax: no weights give the same function
