"""Packing: which prompts of a batch stand in one row, so that a training step of a decoder-only model runs no padding.

The prompts of a row do not see each other (`scoring.tree`), so that each is what it is in a row of its own.
"""

from collections.abc import Sequence

from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes
from peftbench.scoring.encoding import Encoded, num_virtual_tokens
from peftbench.scoring.tree import branches

# A training step multiplies three times what attention multiplies forward, and twice what a frozen linear layer does; a
# CPU does both at one rate (1.0 to 1.2 of each other from 64 to 1,024 tokens).
ATTENTION_WEIGHT = 1.5


def rows(backbone: Backbone, batch: Sequence[Encoded], *, is_shared: bool = True) -> list[list[int]]:
    """Choose the prompts of each row, by their indices in the batch.

    A soft prompt stands once in a row, before all of its prompts. The members of an ensemble of soft prompts have rows
    of their own, next to each other: `batch` holds each example once for each member (`forward.of_members`).
    """
    num_virtual, num_members = num_virtual_tokens(backbone), backbone.num_members
    own = batch[::num_members]
    tokens = [len(encoded.context) + len(branches(encoded, is_shared=is_shared).ids) for encoded in own]
    return [
        [prompt * num_members + member for prompt in row]
        for row in spread(tokens, num_virtual, backbone.sizes)
        for member in range(num_members)
    ]


def spread(tokens: Sequence[int], num_shared: int, sizes: Sizes) -> list[list[int]]:
    """Spread prompts over the number of rows that makes a pass cheapest.

    With many rows the shorter ones are padded to the longest; in few, long ones attention multiplies what prompts do
    not see of each other.

    Args:
        tokens: Tokens of each prompt with its choices.
        num_shared: Tokens that each row begins with.
        sizes: The model's shapes.

    Returns:
        Indices of the prompts of each row.
    """
    choices = [_level(tokens, num_rows) for num_rows in range(1, len(tokens) + 1)]
    return min(choices, key=lambda choice: _cost(choice, tokens, num_shared, sizes))


def _level(tokens: Sequence[int], num_rows: int) -> list[list[int]]:
    """Put prompts, the longest first, each into the row that is shortest by then."""
    filled: list[list[int]] = [[] for _ in range(num_rows)]
    totals = [0] * num_rows
    for prompt in sorted(range(len(tokens)), key=tokens.__getitem__, reverse=True):
        shortest = totals.index(min(totals))
        filled[shortest].append(prompt)
        totals[shortest] += tokens[prompt]
    return filled


def _cost(choice: Sequence[Sequence[int]], tokens: Sequence[int], num_shared: int, sizes: Sizes) -> float:
    """Count a layer's multiplications, those in attention with their weight."""
    length = num_shared + max(sum(tokens[prompt] for prompt in row) for row in choice)
    d_attention, d_keys = sizes.num_heads * sizes.d_kv, sizes.num_kv_heads * sizes.d_kv
    linear = sizes.d_model * (2 * d_attention + 2 * d_keys + (3 if sizes.gated else 2) * sizes.d_ff)
    return len(choice) * length * (linear + ATTENTION_WEIGHT * 2 * length * d_attention)
