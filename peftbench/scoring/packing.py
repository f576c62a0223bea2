"""Packing: which prompts of a batch stand in one row, so that a training step runs little padding.

The prompts of a row do not see each other (`scoring.tree`), so that each is what it is in a row of its own. A prompt of
an encoder-decoder has its input in a row of the encoder, and its choices in that of the decoder.
"""

from collections.abc import Sequence

from peftbench.models.shapes import Sizes
from peftbench.scoring.work import Pass

# A training step multiplies three times what attention multiplies forward, and twice what a frozen linear layer does; a
# CPU does both at one rate (1.0 to 1.2 of each other from 64 to 1,024 tokens).
ATTENTION_WEIGHT = 1.5


def rows(
    sizes: Sizes, contexts: Sequence[int], fed: Sequence[int], num_virtual: int = 0, num_members: int = 1
) -> list[list[int]]:
    """Choose the prompts of each row, by their indices.

    A decoder-only model has a soft prompt once in a row, before all of its prompts, and the members of an ensemble of
    soft prompts have rows of their own, next to each other. An encoder has a soft prompt before each input.

    Args:
        sizes: The model's shapes.
        contexts: Tokens of each prompt's context, virtual ones left out.
        fed: Tokens of each prompt's choices that are fed, the start of the decoder left out.
        num_virtual: Tokens of a soft prompt.
        num_members: Soft prompts of an ensemble: each example comes once for each (`forward.of_members`).
    """
    if sizes.is_encoder_decoder:
        return spread(sizes, contexts, fed, num_virtual)
    return [
        [prompt * num_members + member for prompt in row]
        for row in spread(sizes, contexts[::num_members], fed[::num_members], num_virtual)
        for member in range(num_members)
    ]


def spread(sizes: Sizes, contexts: Sequence[int], fed: Sequence[int], num_virtual: int) -> list[list[int]]:
    """Spread prompts over the number of rows that makes a pass cheapest.

    With many rows the shorter ones are padded to the longest; in few, long ones attention multiplies what prompts do
    not see of each other.

    Args:
        sizes: As in `rows`.
        contexts: As in `rows`.
        fed: As in `rows`.
        num_virtual: As in `rows`.

    Returns:
        Indices of the prompts of each row.
    """
    tokens = [sum(pair) for pair in zip(contexts, fed, strict=True)]
    choices = [_level(tokens, num_rows) for num_rows in range(1, len(tokens) + 1)]
    return min(choices, key=lambda choice: cost(sizes, shape(sizes, choice, contexts, fed, num_virtual)))


def _level(tokens: Sequence[int], num_rows: int) -> list[list[int]]:
    """Put prompts, the longest first, each into the row that is shortest by then."""
    filled: list[list[int]] = [[] for _ in range(num_rows)]
    totals = [0] * num_rows
    for prompt in sorted(range(len(tokens)), key=tokens.__getitem__, reverse=True):
        shortest = totals.index(min(totals))
        filled[shortest].append(prompt)
        totals[shortest] += tokens[prompt]
    return filled


def shape(
    sizes: Sizes,
    rows: Sequence[Sequence[int]],
    contexts: Sequence[int],
    fed: Sequence[int],
    num_virtual: int = 0,
    head: int = 0,
) -> Pass:
    """Return the shape of a pass.

    Args:
        sizes: As in `rows`.
        rows: The prompts of each row, by their indices.
        contexts: As in `rows`.
        fed: As in `rows`.
        num_virtual: As in `rows`.
        head: Tokens that pass the LM head.
    """
    if not sizes.is_encoder_decoder:
        longest = max(sum(contexts[prompt] + fed[prompt] for prompt in row) for row in rows)
        return Pass.of_decoder(rows=len(rows), tokens=num_virtual + longest, head=head)
    return Pass.of_encoder_decoder(
        inputs=len(rows),
        input_tokens=max(sum(num_virtual + contexts[prompt] for prompt in row) for row in rows),
        answers=len(rows),
        answer_tokens=max(sum(sizes.num_start_tokens + fed[prompt] for prompt in row) for row in rows),
        head=head,
    )


def cost(sizes: Sizes, shape: Pass) -> float:
    """Count a pass's multiplications up to the LM head, those in attention with their weight."""
    d_attention, d_keys = sizes.num_heads * sizes.d_kv, sizes.num_kv_heads * sizes.d_kv
    queries, keys = 2 * sizes.d_model * d_attention, 2 * sizes.d_model * d_keys  # q and o, k and v
    linear = queries + keys + (3 if sizes.gated else 2) * sizes.d_model * sizes.d_ff
    per_key = ATTENTION_WEIGHT * 2 * d_attention
    inputs, answers = shape.encoder_rows * shape.encoder_tokens, shape.decoder_rows * shape.decoder_tokens
    encoder = inputs * (linear + per_key * shape.encoder_tokens)
    decoder = answers * (linear + per_key * shape.decoder_tokens)
    if sizes.is_encoder_decoder:  # cross-attention
        decoder += answers * (queries + per_key * shape.encoder_tokens) + inputs * keys
    return sizes.num_encoder_layers * encoder + sizes.num_decoder_layers * decoder
