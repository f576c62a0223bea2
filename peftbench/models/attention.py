"""The one seam into attention, registered with transformers as "peftbench": prefixes, folded choices, tree masks.

Every backbone is loaded with it, so no family's code is patched.

Shapes: queries (rows * choices, num_heads, queries, d_kv); keys and values (rows, num_kv_heads, keys, d_kv); masks and
biases additive, (rows, num_heads or 1, queries or 1, keys). In cross-attention the choices of an example share a row of
keys; everywhere else choices is 1.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "peftbench"
PREFIX = "prefix"


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    distances: Tensor | None = None,
    prefix_bias: Tensor | None = None,
    positions: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend, with what stands before the keys and with several query rows for one row of keys.

    softmax(scaling * q [k_prefix; k]^T + mask + bias) [v_prefix; v]

    Args:
        module: The attention block; its submodule "prefix", if any, computes keys and values that stand before.
        query: (rows * choices, num_heads, queries, d_kv).
        key: (rows, num_kv_heads, keys, d_kv); fewer rows than queries in cross-attention, where the choices of one
            example share the encoder's keys: they are folded into the query axis, and keys are computed once.
        value: As `key`.
        attention_mask: Additive (rows, 1, queries or 1, keys), 0 or the dtype's lowest.
        dropout: Probability of dropping an attention weight.
        scaling: Factor on the scores; None takes d_kv ** -0.5.
        position_bias: Additive (1, num_heads, queries, keys), T5's relative positions; prefix keys get zeros.
        sliding_window: This layer's window in tokens, where it has one.
        softcap: c, where scores are kept within +-c (Gemma 2): c tanh(scores / c), before mask and bias.
        distances: (rows, 1, queries, keys) int: query position minus key position; given with packed rows, whose mask
            does not know the window yet.
        prefix_bias: Additive (rows, num_heads, queries, prefix keys), where keys of a prefix stand at positions.
        positions: (rows, tokens) int, where a row of T5's decoder holds several answers: its bias goes by them.

    Returns:
        (rows * choices, queries, num_heads, d_kv) and None, as transformers expects.
    """
    mask = attention_mask
    if distances is not None and sliding_window is not None and mask is not None:
        mask = mask.masked_fill(distances >= sliding_window, torch.finfo(mask.dtype).min)
    rows, num_queries = key.shape[0], query.shape[2]
    folded = query.shape[0] != rows
    if folded:
        query = query.unflatten(0, (rows, -1)).transpose(1, 2).flatten(2, 3)  # (rows, heads, choices * queries, d_kv)
    if folded or (positions is not None and not module.is_causal):
        position_bias = None  # cross-attention's is all zeros
    elif position_bias is not None:
        mask = _with_bias(mask, position_bias, positions)
    prefix = getattr(module, PREFIX, None)
    if prefix is not None:
        key, value, mask = _prepend(prefix, key, value, mask, prefix_bias)
    groups = getattr(module, "num_key_value_groups", 1)
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if softcap is None:
        output = functional.scaled_dot_product_attention(query, key, value, mask, dropout_p=dropout, scale=scaling)
    else:
        output = _capped(query, key, value, mask, dropout, scaling, softcap)
    if folded:
        output = output.unflatten(2, (-1, num_queries)).transpose(1, 2).flatten(0, 1)  # (rows * choices, heads, ...)
    return output.transpose(1, 2).contiguous(), None  # (rows * choices, queries, heads, d_kv)


def _with_bias(mask: Tensor | None, position_bias: Tensor, positions: Tensor | None) -> Tensor:
    """Add a bias (1, heads, queries, keys), for tokens at their positions, to the mask; heads lie first in memory.

    T5 hands the same bias and mask to all its layers: the first one adds, the others find the sum on the bias.
    """
    if not hasattr(position_bias, "with_mask"):
        laid_out = position_bias
        if positions is not None:
            # (heads, rows, queries, keys) -> (rows, heads, queries, keys)
            laid_out = position_bias[0, :, positions[:, :, None], positions[:, None]].transpose(0, 1)
        laid_out = laid_out.contiguous()
        with_mask = laid_out if mask is None else laid_out + mask
        setattr(position_bias, "with_mask", with_mask)  # noqa: B010 (no attribute that Tensor declares)
    return getattr(position_bias, "with_mask")  # noqa: B009


def _capped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    softcap: float,
) -> Tensor:
    """Attend with scores between -softcap and softcap, which no fused kernel computes."""
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    scores = scores if mask is None else scores + mask
    weights = functional.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
    return functional.dropout(weights, dropout) @ value


def _prepend(
    prefix: nn.Module, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Put a prefix's keys and values before the tokens' own; all queries of a row see them.

    The prefix computes (num_kv_heads, num_keys, d_kv) for all rows, or with a leading axis over examples, whose choices
    are rows next to each other, and then also which keys are present, (examples, num_keys) bool.
    """
    keys, values, *present = prefix()
    if present:
        assert mask is not None
        times = key.shape[0] // len(keys)
        keys, values, seen = (piece.repeat_interleave(times, 0) for piece in (keys, values, *present))
        unseen = torch.where(seen, 0.0, torch.finfo(mask.dtype).min).to(mask.dtype)[:, None, None]  # (rows, 1, 1, keys)
        mask = mask.expand(key.shape[0], -1, -1, -1)
        mask = torch.cat((unseen.expand(-1, *mask.shape[1:3], -1), mask), 3)
    elif bias is not None:
        assert mask is not None
        mask = torch.cat((bias.expand(*mask.shape[:3], -1), mask), 3)
    elif mask is not None:
        mask = functional.pad(mask, (keys.shape[-2], 0))
    keys, values = (piece.to(key.dtype).expand(key.shape[0], -1, -1, -1) for piece in (keys, values))
    return torch.cat((keys, key), 2), torch.cat((values, value), 2), mask


AttentionInterface.register(NAME, attend)
# The eager mask is additive and always there: a prefix can be put before it, and tracing needs it.
AttentionMaskInterface.register(NAME, eager_mask)
