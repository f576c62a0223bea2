"""Exact forward FLOPs in closed form, from shapes alone. Kind `counted`.

Counted: every matmul, that is projections, feed-forward blocks, attention scores and values, cross-attention, the LM
head, and what a method adds. A multiply-add is 2 FLOPs. Attention is counted in full, not halved for a causal mask.
Left out: elementwise work (norms, activations, softmax, residuals, products with vectors), embedding look-ups,
position tables.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

from peftbench.errors import CostError
from peftbench.methods.base import Added, Op
from peftbench.models.shapes import EncoderSizes, Sizes
from peftbench.scoring.work import Blocks, Pass, rows_of

NOTHING = Added(num_parameters=0)


@dataclass(frozen=True)
class Query:
    """Token lengths of one query with all its answer choices.

    Args:
        shot_tokens: Tokens of the shots before the input; 0 after tuning and for zero-shot.
        input_tokens: Tokens of the input, that is of what all choices share.
        choice_tokens: Tokens of each choice, as fed to the model. A choice's last token is only predicted, so an
            encoder-decoder is fed as many as the choice has (the start token first; one more where there are two),
            and a decoder-only model one less: 0 for a choice of one token. An encoder-only model is fed all of them,
            masked or not, in as many rows as `scoring.work.rows_of` says.
        blocks: Where blocks of shots do not see each other: these.

    Raises:
        CostError: A negative length, or no choices.
    """

    shot_tokens: int
    input_tokens: int
    choice_tokens: tuple[int, ...]
    blocks: Blocks | None = None

    def __post_init__(self) -> None:
        if min(self.shot_tokens, self.input_tokens, *self.choice_tokens) < 0 or not self.choice_tokens:
            raise CostError(
                f"impossible token counts: {self.shot_tokens} for the shots, {self.input_tokens} for the input, "
                f"{list(self.choice_tokens)} for the choices",
                hint="counts are whole numbers from 0 up, with one for each answer choice",
            )


@dataclass(frozen=True)
class Stream:
    """How many tokens run where.

    Args:
        encoder: Tokens through the encoder's layers; 0 for decoder-only models.
        decoder: Tokens through the decoder's layers.
        encoder_pairs: (query, key) pairs in one encoder self-attention.
        self_pairs: (query, key) pairs in one decoder self-attention.
        cross_pairs: (query, key) pairs in one cross-attention.
        head: Tokens through the LM head.
    """

    encoder: int
    decoder: int
    encoder_pairs: int
    self_pairs: int
    cross_pairs: int
    head: int

    def __add__(self, other: "Stream") -> "Stream":
        return Stream(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(Stream)))

    def times(self, count: int) -> "Stream":
        """Return the stream of as many passes of this shape; FLOPs are proportional to it."""
        return Stream(*(count * getattr(self, item.name) for item in fields(Stream)))

    @property
    def tokens(self) -> dict[str | None, int]:
        """How many tokens pass where an `Op` says that they pass."""
        return {"encoder": self.encoder, "decoder": self.decoder, "cross": self.encoder}

    def pairs(self, stack: str, block: str) -> int:
        """Return the (query, key) pairs of one attention block."""
        if stack == "encoder":
            return self.encoder_pairs
        return self.cross_pairs if block == "cross" else self.self_pairs


NO_TOKENS = Stream(0, 0, 0, 0, 0, 0)


def forward_flops(
    sizes: Sizes, query: Query, added: Added | None = None, *, merged: bool = True, cached: bool = False
) -> int:
    """Count the forward pass that scores one query with all its choices.

    Decoder-only models run one sequence: shots, input, then the choices, which share what is before them. An
    encoder-decoder encodes shots and input once, computes cross-attention's keys and values once, and decodes each
    choice as a sequence of its own. An encoder-only model runs shots and input anew in each of its rows. Only positions
    that predict an answer token pass the LM head: those of the choices, for decoder-only models the input's last one,
    which predicts the first token of every choice, and one in each row of an encoder-only model.

    Args:
        sizes: The model's shapes.
        query: Token lengths.
        added: What a method adds; None for the bare model.
        merged: Whether the method was folded into the weights, as far as it can be.
        cached: Whether keys and values of what stands before the input (virtual tokens and shots) are read from
            a cache; what filling it costs once is `prefill_flops`.

    Returns:
        FLOPs per query.

    Raises:
        CostError: `cached` for an encoder-decoder, or impossible sizes.
    """
    check(sizes)
    added = added or NOTHING
    if cached and not sizes.is_causal:
        raise CostError(
            f"the shots of an {sizes.kind} model cannot be cached: its encoder reads shots and query together",
            hint="count it without the cache",
        )
    once = once_flops(sizes, added, merged=merged)
    return flops(sizes, stream(sizes, query, added, cached=cached), added, merged=merged) + once


def prefill_flops(
    sizes: Sizes,
    shot_tokens: int,
    added: Added | None = None,
    *,
    merged: bool = True,
    blocks: Blocks | None = None,
) -> int:
    """Count what it costs, once, to compute the keys and values of virtual tokens and shots; the LM head stays idle.

    Args:
        sizes: The model's shapes; decoder-only.
        shot_tokens: Tokens that all queries have in common.
        added: What a method adds; None for the bare model.
        merged: Whether the method was folded into the weights, as far as it can be.
        blocks: Where blocks of shots do not see each other: these; what stands before the shots is left out.

    Raises:
        CostError: An encoder-decoder, or impossible sizes.
    """
    check(sizes)
    if not sizes.is_causal:
        raise CostError(f"an {sizes.kind} model has no cache of shots to fill", hint="count it without the cache")
    added = added or NOTHING
    tokens = added.extra_tokens + shot_tokens
    pairs = tokens * (tokens + added.extra_keys) - (unseen_pairs(blocks.shots, tokens) if blocks else 0)
    filling = Stream(0, tokens, 0, self_pairs=pairs, cross_pairs=0, head=0)
    return flops(sizes, filling, added, merged=merged)


def states_flops(sizes: Sizes | EncoderSizes, tokens: int) -> int:
    """Count what it costs to compute a text's last hidden states, the encoder's where there is one; no LM head."""
    if isinstance(sizes, EncoderSizes):
        return 2 * tokens * sizes.num_weights + sizes.num_layers * 2 * 2 * tokens * tokens * sizes.d_model
    layers = sizes.num_encoder_layers or sizes.num_decoder_layers
    alone = Stream(0, tokens, 0, tokens * tokens, 0, 0)
    once = _relative_flops(sizes, alone) * layers + once_flops(sizes, NOTHING)
    return layers * (tokens * _layer_flops_per_token(sizes) + _attention_flops(sizes, tokens * tokens)) + once


def check(sizes: Sizes) -> None:
    """Refuse shapes that no transformer has.

    Raises:
        CostError: A size below one, heads that do not divide, or layers that do not go with the kind of model.
    """
    positive = ("num_decoder_layers", "d_model", "d_kv", "d_ff", "num_heads", "num_kv_heads", "vocab_size")
    wrong = [f"{name} = {getattr(sizes, name)}" for name in positive if getattr(sizes, name) < 1]
    if not wrong and sizes.num_heads % sizes.num_kv_heads:
        wrong.append(f"num_heads = {sizes.num_heads} is no multiple of num_kv_heads = {sizes.num_kv_heads}")
    if sizes.num_encoder_layers < 0 or sizes.is_encoder_decoder != (sizes.num_encoder_layers > 0):
        kind = "an encoder-decoder" if sizes.is_encoder_decoder else "a decoder-only model"
        wrong.append(f"num_encoder_layers = {sizes.num_encoder_layers} for {kind}")
    if wrong:
        raise CostError(f"impossible model sizes: {'; '.join(wrong)}", hint="check the model's config.json")


def stream(sizes: Sizes, query: Query, added: Added, *, cached: bool = False) -> Stream:
    """Count how many tokens of a query run where; virtual tokens come on top."""
    before, choices = added.extra_tokens + query.shot_tokens, sum(query.choice_tokens)
    if sizes.is_encoder_decoder:
        encoder = before + query.input_tokens
        return Stream(
            encoder,
            choices,
            encoder_pairs=encoder * (encoder + added.extra_keys),
            self_pairs=sum(tokens * (tokens + added.extra_keys) for tokens in query.choice_tokens),
            cross_pairs=choices * (encoder + added.extra_keys),
            head=choices - sizes.num_fed_more * len(query.choice_tokens),
        )
    if sizes.is_encoder_only:
        rows = [before + query.input_tokens + number for number in rows_of(query.choice_tokens)]
        pairs = sum(tokens * (tokens + added.extra_keys) for tokens in rows)
        return Stream(0, sum(rows), 0, self_pairs=pairs, cross_pairs=0, head=len(rows))
    keys = before + query.input_tokens + choices
    queries = keys - before if cached else keys
    pairs = queries * (keys + added.extra_keys)
    if query.blocks is not None and not cached:
        pairs -= unseen_pairs([end - start for start, end in query.blocks.spans], keys)
    return Stream(0, queries, 0, self_pairs=pairs, cross_pairs=0, head=choices + 1)


def unseen_pairs(sizes: Iterable[int], num_keys: int) -> int:
    """Count the (query, key) pairs that blocks of these sizes leave out of an attention with so many keys."""
    return sum(size * (num_keys - size) for size in sizes)


def pass_flops(sizes: Sizes, run: Pass, added: Added | None = None) -> int:
    """Count one forward pass as it was run, padding included; the method is attached, not merged."""
    added = added or NOTHING
    return flops(sizes, pass_stream(run, added), added) + once_flops(sizes, added)


def passes_flops(sizes: Sizes, passes: Mapping[Pass, int], added: Added | None = None) -> int:
    """Count forward passes as they were run (shape -> how many), as `pass_flops` counts one."""
    added = added or NOTHING
    beside = sum(op_flops(op, NO_TOKENS) for op in added.fixed if not op.training_only) + once_flops(sizes, added)
    return flops(sizes, passes_stream(passes, added), added.flowing) + sum(passes.values()) * beside


def lowest_flops(sizes: Sizes, passes: Mapping[Pass, int], num_layers: tuple[int, int]) -> int:
    """Count the lowest layers alone of forward passes as they were run, with nothing attached to them.

    Args:
        sizes: The model's shapes.
        passes: Shape -> how many.
        num_layers: How many layers of the encoder, and of the decoder.
    """
    lowest = replace(sizes, num_encoder_layers=num_layers[0], num_decoder_layers=num_layers[1])
    return flops(lowest, replace(passes_stream(passes, NOTHING), head=0), NOTHING)


def passes_stream(passes: Mapping[Pass, int], added: Added) -> Stream:
    """Count how many tokens of all passes (shape -> how many) ran where, padding included."""
    streams = (pass_stream(run, added).times(times) for run, times in passes.items())
    return sum(streams, NO_TOKENS)


def pass_stream(run: Pass, added: Added) -> Stream:
    """Count how many tokens of a forward pass ran where, padding included."""
    encoder, decoder = run.encoder_rows * run.encoder_tokens, run.decoder_rows * run.decoder_tokens
    return Stream(
        encoder,
        decoder,
        encoder_pairs=encoder * (run.encoder_tokens + added.extra_keys),
        self_pairs=decoder * (run.cached_tokens + run.decoder_tokens + added.extra_keys),
        cross_pairs=decoder * (run.encoder_tokens + added.extra_keys) if encoder else 0,
        head=run.head_tokens,
    )


def flops(sizes: Sizes, stream: Stream, added: Added, *, merged: bool = False, training: bool = False) -> int:
    """Count one forward pass.

    Args:
        sizes: The model's shapes.
        stream: How many tokens run where.
        added: What a method adds.
        merged: Whether the method was folded into the weights, as far as it can be.
        training: Whether what a method does in training only is there.
    """
    token, keys_values = _layer_flops_per_token(sizes), _keys_values_flops_per_token(sizes)
    total = sizes.num_encoder_layers * (stream.encoder * token + _attention_flops(sizes, stream.encoder_pairs))
    total += sizes.num_decoder_layers * (stream.decoder * token + _attention_flops(sizes, stream.self_pairs))
    if sizes.is_encoder_decoder:
        cross = stream.decoder * _query_output_flops_per_token(sizes) + stream.encoder * keys_values
        total += sizes.num_decoder_layers * (cross + _attention_flops(sizes, stream.cross_pairs))
    total += sizes.num_decoder_layers * _relative_flops(sizes, stream)
    total += head_flops(sizes, stream)
    ops = [op for op in added.ops if not (merged and op.mergeable) and (training or not op.training_only)]
    return total + sum(op_flops(op, stream) for op in ops)


def op_flops(op: Op, stream: Stream) -> int:
    """Count one matmul of a method, forward."""
    return 2 * (stream.tokens[op.tokens] if op.rows is None else op.rows) * op.k * op.n


def _relative_flops(sizes: Sizes, stream: Stream) -> int:
    """Compare each token's query and key with a table of distances, in one layer."""
    return 2 * 2 * stream.decoder * sizes.num_relative * sizes.num_heads * sizes.d_kv


def once_flops(sizes: Sizes, added: Added, *, merged: bool = False) -> int:
    """Count what a pass multiplies whatever its tokens: a table of distances, through the layers of queries and keys.

    What a method adds there acts on it too.
    """
    if not sizes.num_relative:
        return 0
    layers = 2 * sizes.num_decoder_layers * 2 * sizes.num_relative * sizes.d_model * sizes.num_heads * sizes.d_kv
    ops = [op for op in added.ops if is_of_distances(op) and not (merged and op.mergeable)]
    return layers + sum(2 * sizes.num_relative * op.k * op.n for op in ops)


def is_of_distances(op: Op) -> bool:
    """Tell whether a matmul stands where a table of distances passes, if the model has one."""
    return op.rows is None and op.place is not None and op.place.role in ("q", "k")


def head_flops(sizes: Sizes, stream: Stream) -> int:
    """Count the LM head, forward; a masked model's has a square layer, and classes stand in the vocabulary's place."""
    if sizes.num_classes:
        return 2 * stream.head * sizes.d_model * sizes.num_classes
    columns = sizes.vocab_size + (sizes.d_model if sizes.is_encoder_only else 0)
    return 2 * stream.head * sizes.d_model * columns


def _layer_flops_per_token(sizes: Sizes) -> int:
    """Self-attention's four projections and the feed-forward block."""
    feed_forward = 2 * (3 if sizes.gated else 2) * sizes.d_model * sizes.d_ff
    return _query_output_flops_per_token(sizes) + _keys_values_flops_per_token(sizes) + feed_forward


def _query_output_flops_per_token(sizes: Sizes) -> int:
    return 2 * 2 * sizes.d_model * sizes.num_heads * sizes.d_kv


def _keys_values_flops_per_token(sizes: Sizes) -> int:
    return 2 * 2 * sizes.d_model * sizes.num_kv_heads * sizes.d_kv


def _attention_flops(sizes: Sizes, pairs: int) -> int:
    """Scores and values, (query, key) pairs in all heads; grouped keys are shared, their products are not."""
    return 2 * 2 * pairs * sizes.num_heads * sizes.d_kv
