"""FLOPs of answers that are written token by token, their keys and values kept: a function of the tokens written.

    prompt of c tokens, answer of n: c + n - 1 tokens run, the last one is not fed; each of the n passes the LM head.
    Token t of the answer sees c + t keys.

An encoder-decoder encodes the prompt once, computes cross-attention's keys and values once, and its decoder begins with
the start tokens, which all pass the LM head. Padding is left out, as in `count`.
"""

from peftbench.costs import count
from peftbench.costs.count import NO_TOKENS, NOTHING, Stream
from peftbench.errors import CostError
from peftbench.methods.base import Added
from peftbench.models.shapes import Sizes


def generation_flops(
    sizes: Sizes,
    context_tokens: int,
    written_tokens: int,
    added: Added | None = None,
    *,
    shared_tokens: int = 0,
    num_start: int = 1,
    num_beams: int = 1,
    merged: bool = False,
) -> int:
    """Count what it takes to write one answer.

    Args:
        sizes: The model's shapes.
        context_tokens: Tokens of the prompt, shots and virtual tokens included.
        written_tokens: Tokens of the answer, the one that ends it included.
        added: What a method adds; None for the bare model.
        shared_tokens: Those of the prompt whose keys and values are read from a cache; `count.prefill_flops` fills it.
        num_start: Tokens that the decoder of an encoder-decoder starts from.
        num_beams: Each runs the prompt and the answer by itself, as transformers does.
        merged: Whether the method was folded into the weights, as far as it can be.

    Returns:
        FLOPs per query.

    Raises:
        CostError: No token is written, shots of an encoder-decoder are in a cache, or an encoder-only model writes.
    """
    count.check(sizes)
    added = added or NOTHING
    if sizes.is_encoder_only or (shared_tokens and sizes.is_encoder_decoder):
        raise CostError(f"an {sizes.kind} model does not write so", hint="count what it does without a cache")
    if written_tokens < 1 or shared_tokens >= context_tokens:
        message = f"{written_tokens} tokens written after {context_tokens}, {shared_tokens} of them read from a cache"
        raise CostError(message, hint="1 token is the least that is written, and that is run of a prompt")
    if sizes.is_encoder_decoder:
        stream = _encoder_decoder(added, context_tokens, written_tokens, num_start)
    else:
        stream = _decoder(added, context_tokens, written_tokens, shared_tokens)
    total = count.flops(sizes, stream, added.flowing, merged=merged)
    beside = [op for op in added.fixed if not op.training_only and not (merged and op.mergeable)]
    total += written_tokens * sum(count.op_flops(op, NO_TOKENS) for op in beside)
    return num_beams * total


def _decoder(added: Added, context: int, written: int, shared: int) -> Stream:
    first, later = context - shared, written - 1
    pairs = first * context + _pairs(context + 1, later)
    return Stream(
        0, first + later, 0, self_pairs=pairs + (first + later) * added.extra_keys, cross_pairs=0, head=written
    )


def _encoder_decoder(added: Added, context: int, written: int, start: int) -> Stream:
    decoded, extra = start + written - 1, added.extra_keys
    return Stream(
        context,
        decoded,
        encoder_pairs=context * (context + extra),
        self_pairs=start * start + _pairs(start + 1, written - 1) + decoded * extra,
        cross_pairs=decoded * (context + extra),
        head=decoded,
    )


def _pairs(first: int, number: int) -> int:
    """Add up the keys of tokens that are run one by one: first + (first + 1) + ..."""
    return number * first + number * (number - 1) // 2
