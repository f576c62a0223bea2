"""Bytes in memory at their peak, in scoring and in training, by part, in closed form. Kind `counted`.

The peak is that of the moment at which most is there. Scoring: in a layer, or at the logits. Training, with W weights,
S the optimiser's state, K what the forward pass has kept, L the logits in float32, G gradients:

    loss    W + S + K + 3 L                        log-probabilities, their gradient, and that of the logits
    layer   W + S + K up to it + G above it + work the backward pass is in it
    end     W + S + G                              all gradients are there
    step    W + S + G + a square                   in half precision G twice, the second in float32

With checkpointing K is what enters each layer, and in a layer what it keeps comes on top.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from peftbench.costs import count, kept
from peftbench.costs.backward import Walk, Walked
from peftbench.costs.count import Query, Stream
from peftbench.costs.kept import Block, Blocks
from peftbench.costs.trained import Optimizer, Trained
from peftbench.methods.base import FLOAT32_BYTES, Added
from peftbench.methods.parts import places
from peftbench.models.shapes import Elementwise, Sizes, Stack
from peftbench.scoring import packing
from peftbench.scoring.work import Pass

DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "4bit": 2}
"""Bytes of a value that is computed; of 4-bit weights it is bfloat16."""
QUANTIZED = 0.5 + 1 / 64 + FLOAT32_BYTES / (64 * 256)
"""Bytes of a 4-bit weight (nf4, double quantisation): half a byte, a byte of scale for 64, a float32 for 256 scales."""

ACTIVATIONS = "what operators keep, logits and what is worked on; attention fused; workspaces of kernels left out"
MOST_PACKED = 64
"""Examples whose rows are chosen at once; a larger batch is counted as several of these."""


@dataclass(frozen=True)
class Model:
    """A model whose memory is counted.

    Args:
        sizes: Its shapes.
        elementwise: What it computes value by value.
        num_parameters: Of the bare model.
        dtype: Of weights and activations; "4bit": the blocks' matrices in nf4, all else in bfloat16.
    """

    sizes: Sizes
    elementwise: Elementwise
    num_parameters: int
    dtype: str = "float32"

    @property
    def value_bytes(self) -> int:
        """Bytes of a value that is computed."""
        return DTYPE_BYTES[self.dtype]

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        if self.dtype != "4bit":
            return self.num_parameters * self.value_bytes
        packed = sum(layer.k * layer.n for role in places.LINEAR for layer in places.linears(self.sizes, role))
        return round(packed * QUANTIZED) + (self.num_parameters - packed) * self.value_bytes

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of the largest matrix that is unpacked to multiply with it."""
        layers = [layer for role in places.LINEAR for layer in places.linears(self.sizes, role)]
        return max(layer.k * layer.n for layer in layers) * self.value_bytes if self.dtype == "4bit" else 0


@dataclass(frozen=True)
class Peak:
    """What is there at the moment at which most is, in bytes.

    Args:
        moment: Which.
        weights: The model's, what a method added, and of those of the model that are trained a copy to put back.
        cache: Cached keys and values.
        optimizer: The optimiser's state, float32, and float32 copies of half-precision weights that are trained.
        gradients: Of what is trained.
        kept: What the forward pass has kept for the backward pass, log-probabilities left out.
        logits: Logits, log-probabilities over the vocabulary, and their gradients.
        working: What operators read and write just then.
    """

    moment: str
    weights: int
    cache: int = 0
    optimizer: int = 0
    gradients: int = 0
    kept: int = 0
    logits: int = 0
    working: int = 0

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.cache + self.optimizer + self.gradients + self.activations

    @property
    def activations(self) -> int:
        """All that grows with the tokens of a pass."""
        return self.kept + self.logits + self.working


@dataclass(frozen=True)
class Training:
    """How a model is trained, as far as memory depends on it.

    Args:
        added: What the method adds and trains.
        optimizer: Whose state.
        checkpointing: Whether a layer's activations are computed again in the backward pass.
        accumulates: Whether gradients of a step's earlier parts are there from the beginning.
    """

    added: Added
    optimizer: Optimizer = "adafactor"
    checkpointing: bool = False
    accumulates: bool = False


def scoring(model: Model, passes: Iterable[Pass], added: Added = count.NOTHING) -> Peak:
    """Count the peak of scoring.

    Args:
        model: Whose.
        passes: Shapes of the forward passes.
        added: What a method has added, not merged.
    """
    beside = FLOAT32_BYTES * (0 if added.num_parameters is None else added.num_parameters)
    peaks = [_pass_peak(model, run, added, model.weight_bytes + beside) for run in passes]
    return max(peaks, key=lambda peak: peak.total)


def training(model: Model, run: Pass, how: Training) -> Peak:
    """Count the peak of one training step, after the first, which has no optimiser's state yet.

    Args:
        model: Whose.
        run: Shape of the step's batch, or of a part of it where gradients are accumulated.
        how: Method, optimiser, checkpointing.
    """
    return max(moments(model, run, how), key=lambda peak: peak.total)


def moments(model: Model, run: Pass, how: Training) -> list[Peak]:
    """Count what is there at each moment that may be the peak."""
    sizes, added, size = model.sizes, how.added, model.value_bytes
    stream, trained = count.pass_stream(run, added), Trained(sizes, added, model.num_parameters)
    is_own, number = bool(trained.own), trained.number
    doubled = number * FLOAT32_BYTES if is_own and size < FLOAT32_BYTES else 0
    state = FLOAT32_BYTES * trained.state(how.optimizer) + doubled
    loaded = number * (size if is_own else FLOAT32_BYTES)  # own weights are put back in the end
    always = Peak("", model.weight_bytes + loaded, optimizer=state)
    counted = Blocks(sizes, model.elementwise, stream, added, _walked(sizes, stream, added), size)
    blocks = kept.per_layer(counted.all())
    layers = _layers(model, stream, how, blocks, counted.around())
    over = size * trained.num_over
    around, stays = kept_masks(model, run, added, blocks) + over, sum(layer.stays for layer in layers)
    logits = stream.head * sizes.vocab_size * FLOAT32_BYTES
    embedded = sizes.vocab_size * sizes.d_model * size if is_own and added.head else 0
    # Embeddings are used twice: a second gradient, the sum of both, and what earlier parts of the batch have left.
    again = (2 + how.accumulates) * embedded if added.embeddings else 0
    # What is added has few gradients, which count from the start.
    first = loaded if how.accumulates or not is_own else 0
    step = FLOAT32_BYTES * trained.largest if how.optimizer == "adafactor" else 0
    peaks = [
        replace(always, moment="loss", gradients=first, kept=around + stays, logits=3 * logits),
        replace(always, moment="end", gradients=loaded + again, kept=over),
        replace(always, moment="step", gradients=loaded + doubled, working=step),
    ]
    remaining, above = stays, embedded
    for layer in reversed(layers):
        passing = replace(always, moment="layer", kept=around + remaining + layer.again, working=layer.working)
        peaks.append(replace(passing, gradients=max(first, above)))
        remaining, above = remaining - layer.stays, above + (layer.gradients if is_own else 0)
    return peaks


@lru_cache(maxsize=8)
def _walked(sizes: Sizes, stream: Stream, added: Added) -> Walked:
    """Walk once for all precisions."""
    return Walk(sizes, stream, added).run()


def step_pass(sizes: Sizes, query: Query, added: Added, batch_size: int) -> Pass:
    """Return the shape in which a batch of equally long examples is run, as `scoring.packing` chooses it.

    Args:
        sizes: The model's shapes.
        query: Token lengths of an example.
        added: What the method adds.
        batch_size: Examples.
    """
    number = min(batch_size, MOST_PACKED)
    start = sizes.num_start_tokens if sizes.is_encoder_decoder else 0
    fed = sum(max(0, tokens - start) for tokens in query.choice_tokens)
    examples = number * added.num_members
    contexts, fed_each = [query.shot_tokens + query.input_tokens] * examples, [fed] * examples
    rows = packing.rows(sizes, contexts, fed_each, added.extra_tokens, added.num_members)
    run = packing.shape(sizes, rows, contexts, fed_each, added.extra_tokens, examples * (fed + 1))
    times = math.ceil(batch_size / number)
    return replace(
        run,
        encoder_rows=times * run.encoder_rows,
        decoder_rows=times * run.decoder_rows,
        head_tokens=times * run.head_tokens,
    )


@dataclass(frozen=True)
class _Layer:
    """A layer of which something is kept, in bytes.

    Args:
        stays: Kept from its forward pass on.
        again: Kept again in its backward pass, where it is checkpointed.
        working: What its backward pass works with.
        gradients: Of its own matrices, where they are trained.
    """

    stays: int
    again: int
    working: int
    gradients: int


def _layers(
    model: Model, stream: Stream, how: Training, in_layers: Mapping[tuple[Stack, int], list[Block]], around: int
) -> list[_Layer]:
    """Count the layers that are run backward, lowest first; what is kept around them goes with the uppermost."""
    sizes, size, added = model.sizes, model.value_bytes, how.added
    shapes = {linear.place: linear for role in places.LINEAR for linear in places.linears(sizes, role)}
    own: dict[tuple[Stack, int], int] = {}
    for place in added.weights:
        key = place.stack, place.layer
        own[key] = own.get(key, 0) + shapes[place].k * shapes[place].n * size
    layers, unpacked = [], model.unpacked_bytes
    for key, blocks in in_layers.items():
        whole, working = sum(block.kept for block in blocks), max(block.working for block in blocks)
        enters = stream.tokens[key[0]] * sizes.d_model * size
        stays, again = (enters, whole) if how.checkpointing else (whole, 0)
        layers.append(_Layer(stays, again, working + unpacked, own.get(key, 0)))
    layers[-1:] = [replace(layer, stays=layer.stays + around) for layer in layers[-1:]]
    return layers


def kept_masks(model: Model, run: Pass, added: Added, layers: Iterable[tuple[Stack, int]]) -> int:
    """Count the additive masks that attention keeps in these layers: one for a stack, or for each layer.

    Virtual keys are put before each layer's mask anew, and layers with a window mask what is out of it.
    """
    encoder, decoder, cross = _mask_bytes(model, run, added)
    stacks = [stack for stack, _ in layers]
    times = {stack: stacks.count(stack) if added.extra_keys else min(1, stacks.count(stack)) for stack in set(stacks)}
    windowed = min(model.elementwise.num_windowed, times.get("decoder", 0) and stacks.count("decoder"))
    decoder_times = times.get("decoder", 0) + (0 if added.extra_keys else windowed)
    return times.get("encoder", 0) * encoder + decoder_times * decoder + times.get("decoder", 0) * cross


def _mask_bytes(model: Model, run: Pass, added: Added) -> tuple[int, int, int]:
    """Count a mask of the encoder, of the decoder, of cross-attention; T5's and BLOOM's have a bias for each head."""
    size, sizes = model.value_bytes, model.sizes
    heads = sizes.num_heads if sizes.alibi or model.elementwise.position_bias else 1
    encoder = heads * run.encoder_rows * run.encoder_tokens * (run.encoder_tokens + added.extra_keys)
    keys = run.cached_tokens + run.decoder_tokens + added.extra_keys
    decoder = heads * run.decoder_rows * run.decoder_tokens * keys
    return size * encoder, size * decoder, size * run.decoder_rows * run.decoder_tokens * run.encoder_tokens


def _pass_peak(model: Model, run: Pass, added: Added, weights: int) -> Peak:
    """Count the peak of one forward pass: in its widest block, or at the logits."""
    sizes, size = model.sizes, model.value_bytes
    stream = count.pass_stream(run, added)
    keys = run.decoder_rows * (run.cached_tokens + run.decoder_tokens)
    cached = 2 * sizes.num_kv_heads * sizes.d_kv * size * (keys if run.cached_tokens or run.head_tokens == 0 else 0)
    always = Peak("", weights, cache=cached * sizes.num_decoder_layers)
    mask = max(_mask_bytes(model, run, added))
    if model.elementwise.position_bias:  # it is there by itself, in order, and added to the mask of each row
        mask += 2 * _mask_bytes(model, replace(run, encoder_rows=1, decoder_rows=0), added)[0]
    block = max(forward_bytes(model, stream, run, stack) for stack in ("encoder", "decoder"))
    logits = stream.head * sizes.vocab_size * (2 * FLOAT32_BYTES)
    states = stream.decoder * sizes.d_model * size
    at_block = replace(always, moment="block", working=block + mask + cached + model.unpacked_bytes)
    at_logits = replace(always, moment="logits", logits=logits, working=states)
    return max(at_block, at_logits, key=lambda peak: peak.total)


def forward_bytes(model: Model, stream: Stream, run: Pass, stack: str) -> int:
    """Count what a layer's forward pass works with, in its attention or its feed-forward block."""
    sizes, size = model.sizes, model.value_bytes
    tokens = stream.tokens[stack]
    d_attn = sizes.num_heads * sizes.d_kv
    keys = run.decoder_rows * run.cached_tokens + tokens if stack == "decoder" else tokens
    repeated = 2 * keys * d_attn if sizes.num_kv_heads < sizes.num_heads else 0
    attention = tokens * (4 * sizes.d_model + 3 * d_attn) + repeated
    steps = max(kept.STEPS.get(model.elementwise.activation, 1), 3 if sizes.gated else 2)
    ff = tokens * (4 * sizes.d_model + steps * sizes.d_ff)
    return size * max(attention, ff)
