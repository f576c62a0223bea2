"""Rotary positions: a key is turned in pairs of features, by an angle that grows with its position.

    (a, b) -> (a cos - b sin, b cos + a sin)          a: feature i, b: feature i + width / 2 of the first `width`

All families here with rotary positions pair features so (GPT-NeoX and Phi-3 turn the first `width` features only).

Paper: 2104.09864, section 3.2.2, with the pairs of the authors' later code.
"""

from typing import Any

import torch
from torch import Tensor, nn


def is_rotary(config: Any) -> bool:
    """Tell whether a model of this config turns queries and keys by their positions before they meet."""
    return getattr(config, "rope_parameters", None) is not None


def turn(keys: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn keys by the angles of their positions.

    Args:
        keys: (..., tokens, d_kv).
        cos: (..., tokens, width), width at most d_kv; features behind it stay as they are.
        sin: The same.
    """
    width = cos.shape[-1]
    turned, rest = keys[..., :width], keys[..., width:]
    first, second = turned.chunk(2, -1)  # (..., tokens, width / 2) each
    turned = turned * cos + torch.cat((-second, first), -1) * sin
    return torch.cat((turned, rest), -1)


def move_behind(model: nn.Module, attention: nn.Module, keys: Tensor) -> Tensor:
    """Turn keys forward by as many positions as there are of them, as if the input began behind them.

    Args:
        model: With `rotary_emb`, which has the angles.
        attention: The block of the keys; some layers of SmolLM3 have no positions, and theirs stay as they are.
        keys: (num_kv_heads, num_keys, d_kv).
    """
    if not getattr(attention, "use_rope", True):
        return keys
    position = torch.tensor([[keys.shape[1]]], device=keys.device)
    angles: Any = model.rotary_emb
    cos, sin = angles(keys, position)  # (1, 1, width)
    return turn(keys, cos, sin)
