"""Rotary positions: a key is turned in pairs of features, by an angle that grows with its position.

    (a, b) -> (a cos - b sin, b cos + a sin)          a: feature i, b: feature i + width / 2 of the first `width`

All families here with rotary positions pair features so (GPT-NeoX and Phi-3 turn the first `width` features only).

Paper: 2104.09864, section 3.2.2, with the pairs of the authors' later code.
"""

import torch
from torch import Tensor


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
