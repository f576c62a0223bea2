"""Exact FLOPs of training in closed form, from shapes alone. Kind `counted`.

A matmul Y = A B costs as much again in the backward pass for dA, where A needs a gradient, and for dB, where B does:

    dA = dY B^T        dB = A^T dY

A frozen matrix needs none, so that its layer costs one more at most. Values need a gradient where something that is
trained lies before them: nothing below the lowest adapted place is run backward. Attention costs up to four more: of
the scores for queries and keys, of the sum for weights and values. What `count.py` leaves out is left out here too,
and so is what fused attention kernels compute twice. What layers with checkpointed activations do is counted where it
is asked for, of trainings as they were run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from peftbench.costs import count
from peftbench.costs.count import NO_TOKENS, NOTHING, Query, Stream
from peftbench.methods.base import Added, Op, Place
from peftbench.methods.parts import places
from peftbench.models.shapes import Role, Sizes
from peftbench.scoring.work import Pass


def backward_flops(sizes: Sizes, query: Query, added: Added | None = None) -> int:
    """Count the backward pass of one example with all its choices, from the choices' log-probabilities down.

    Args:
        sizes: The model's shapes.
        query: Token lengths; what is trained on has no shots before it.
        added: What a method adds, and what is trained; None for the bare model, of which nothing is.

    Raises:
        CostError: Impossible sizes.
    """
    count.check(sizes)
    added = added or NOTHING
    fixed = sum(_backward(op, count.op_flops(op, NO_TOKENS), reads=op.reads == "trained") for op in added.fixed)
    walked = Walk(sizes, count.stream(sizes, query, added), added).run()
    return walked.flops + walked.once + fixed


def training_flops(sizes: Sizes, examples: Mapping[Query, int], num_steps: int, added: Added) -> int:
    """Count a whole training, forward and backward, without padding; the optimiser's work is elementwise.

    Args:
        sizes: The model's shapes.
        examples: Token lengths of an example -> how often such a one was trained on.
        num_steps: Optimiser steps; what a method multiplies beside the tokens is run once in each.
        added: What the method adds and trains.

    Raises:
        CostError: Impossible sizes.
    """
    count.check(sizes)
    total = sum(times * _passed(sizes, count.stream(sizes, query, added), added) for query, times in examples.items())
    return total + num_steps * _once_a_step(sizes, added)


def trained_flops(
    sizes: Sizes,
    passes: Mapping[Pass, int],
    added: Added,
    frozen: Mapping[Pass, int] | None = None,
    num_frozen: tuple[int, int] = (0, 0),
    *,
    is_checkpointed: bool = False,
) -> int:
    """Count a training as it was run, forward and backward, padding included.

    Args:
        sizes: The model's shapes.
        passes: Shape of a step's batch, or of a part of it -> how many there were.
        added: What the method adds and trains.
        frozen: Shape of a pass through the frozen layers alone -> how many there were.
        num_frozen: How many layers of the encoder, and of the decoder, are run in those passes and not in steps.
        is_checkpointed: Whether activations were computed again.
    """
    stream = count.passes_stream(passes, added)
    steps = _passed(sizes, stream, added) + sum(passes.values()) * _once_a_step(sizes, added)
    if is_checkpointed:
        steps += recomputed_flops(sizes, stream, added, sum(passes.values()))
        inside = added.fixed if added.extra_keys else ()  # networks of virtual keys are run in the layers
        steps += sum(passes.values()) * sum(count.op_flops(op, NO_TOKENS) for op in inside)
    run, skipped = (count.lowest_flops(sizes, shapes, num_frozen) for shapes in (frozen or {}, passes))
    return steps + run - skipped


def recomputed_flops(sizes: Sizes, stream: Stream, added: Added, num_passes: int) -> int:
    """Count the second forward pass of checkpointed layers: all of each in which something is run backward."""
    layers = {(norm.stack, norm.layer) for norm in Walk(sizes, stream, added).run().run_backward}
    stacks = [stack for stack, _ in layers]
    again = replace(sizes, num_encoder_layers=stacks.count("encoder"), num_decoder_layers=stacks.count("decoder"))
    ops = [op for op in added.ops if op.place and (op.place.stack, op.place.layer) in layers]
    inside = replace(added, ops=tuple(ops))
    beside = num_passes * count.once_flops(again, inside)
    return count.flops(again, replace(stream, head=0), inside.flowing, training=True) + beside


def _passed(sizes: Sizes, stream: Stream, added: Added) -> int:
    """Count what flows with the tokens, forward and backward."""
    return count.flops(sizes, stream, added.flowing, training=True) + Walk(sizes, stream, added).run().flops


def _once_a_step(sizes: Sizes, added: Added) -> int:
    """Count what is multiplied beside the tokens, forward and backward."""
    total = count.once_flops(sizes, added) + Walk(sizes, NO_TOKENS, added).run().once
    for op in added.fixed:
        once = count.op_flops(op, NO_TOKENS)
        total += once + _backward(op, once, reads=op.reads == "trained")
    return total


def _backward(op: Op, forward: int, *, reads: bool) -> int:
    """Count dA, where what the op reads needs a gradient, and dB, where its matrix is trained."""
    return forward * (reads + op.trained)


@dataclass(frozen=True)
class Walked:
    """The backward pass of all layers.

    Args:
        flops: Without what is multiplied beside the tokens.
        once: What a pass multiplies whatever its tokens: those of a table of distances (`count.once_flops`).
        run_backward: The norms before the blocks through which a gradient passes, or in which it ends.
        needs: Place -> whether what its linear layer reads needs a gradient; of a norm, what enters its block.
    """

    flops: int
    once: int
    run_backward: tuple[Place, ...]
    needs: Mapping[Place, bool]


class Walk:
    """A walk through the layers in the order in which they run, which knows what needs a gradient.

    Args:
        sizes: The model's shapes.
        stream: How many tokens run where.
        added: What is trained, and where.
    """

    def __init__(self, sizes: Sizes, stream: Stream, added: Added) -> None:
        self._sizes, self._stream, self._added = sizes, stream, added
        self._layers = {linear.place: linear for role in places.LINEAR for linear in places.linears(sizes, role)}
        # Virtual keys enter behind the layers of keys and values: they act on attention, not on what these layers give.
        acting = [place for place in added.places if not (added.extra_keys and place.role in ("k", "v"))]
        self._acting = {*acting, *(op.place for op in added.ops if op.trained or op.reads == "trained")}
        self._own = set(added.weights)
        self._read: dict[Place, bool] = {}
        """Place -> whether what its linear layer reads needs a gradient."""
        self._values: dict[Place, bool] = {}
        """Place -> whether the values there need one, before something acts on them."""
        self._of_distances: dict[Place, tuple[bool, bool]] = {}
        """Place -> whether a table of distances needs a gradient before its linear layer, and behind it."""
        self._total = self._once = 0
        self._run_backward: list[Place] = []

    def run(self) -> Walked:
        """Walk through all layers."""
        self._total, self._once, self._run_backward = 0, 0, []
        enters = bool(self._added.extra_tokens) or self._added.embeddings
        states = False
        if self._sizes.is_encoder_decoder:
            states = enters
            for layer in range(self._sizes.num_encoder_layers):
                states = self._attention(Place("encoder", layer, "self", "norm"), states)
                states = self._feed_forward(Place("encoder", layer, "ff", "norm"), states)
            enters = self._added.embeddings
        for layer in range(self._sizes.num_decoder_layers):
            below = enters
            enters = self._attention(Place("decoder", layer, "self", "norm"), enters)
            if self._sizes.is_encoder_decoder:
                enters = self._attention(Place("decoder", layer, "cross", "norm"), enters, states)
            reads = below if self._sizes.parallel else enters
            enters = self._feed_forward(Place("decoder", layer, "ff", "norm"), reads) or enters
        self._total += count.head_flops(self._sizes, self._stream) * (enters + self._added.head)
        for op in self._added.ops:
            if op.rows is None:
                self._total += _backward(op, count.op_flops(op, self._stream), reads=self._reads(op))
                if self._sizes.num_relative and count.is_of_distances(op):
                    forward = 2 * self._sizes.num_relative * op.k * op.n
                    self._once += _backward(op, forward, reads=self._reads_distances(op))
        return Walked(self._total, self._once, tuple(self._run_backward), self._read)

    def _attention(self, norm: Place, enters: bool, states: bool | None = None) -> bool:
        """Walk through an attention block; `states` are the encoder's, where keys and values come from these.

        Returns:
            Whether the residual stream needs a gradient after it.
        """
        self._read[norm] = enters
        x = enters or norm in self._acting
        source = x if states is None else states
        q, k, v = (self._linear(norm, role, x if role == "q" else source) for role in ("q", "k", "v"))
        if self._sizes.fused:  # what acts on one third of the layer's output puts the output together anew
            q = k = v = q or k or v
        if self._sizes.num_relative:
            self._distances(norm, q, k)
        if self._added.extra_keys:
            k = v = True
        pairs = self._stream.pairs(norm.stack, norm.block)
        half = 2 * pairs * self._sizes.num_heads * self._sizes.d_kv
        weights = q or k
        self._total += half * (q + k + weights + v)
        return self._passed(norm, self._linear(norm, "o", weights or v)) or enters

    def _feed_forward(self, norm: Place, enters: bool) -> bool:
        self._read[norm] = enters
        x = enters or norm in self._acting
        hidden = self._linear(norm, "ff_up", x)
        if self._sizes.gated:
            hidden = self._linear(norm, "ff_gate", x) or hidden
        inner = replace(norm, role="ff_hidden")
        self._values[inner] = hidden
        return self._passed(norm, self._linear(norm, "ff_out", hidden or inner in self._acting)) or enters

    def _passed(self, norm: Place, needs: bool) -> bool:
        if needs:
            self._run_backward.append(norm)
        return needs

    def _linear(self, norm: Place, role: Role, x: bool) -> bool:
        """Count a linear layer's own backward pass, and tell whether what leaves the place needs a gradient."""
        place = replace(norm, role=role)
        side = replace(place, side="input")
        self._values[side] = x
        x = x or any(replace(side, role=other) in self._acting for other in self._sizes.together(role))
        layer = self._layers[place]
        forward = 2 * (self._stream.tokens[place.tokens]) * layer.k * layer.n
        self._total += forward * (x + (place in self._own))
        self._read[place] = self._read[side] = x
        self._values[place] = x or place in self._own
        return self._values[place] or place in self._acting

    def _distances(self, norm: Place, q: bool, k: bool) -> None:
        """Walk through what distances add to scores: their keys met queries, and their queries met keys."""
        q_of, k_of = (self._distances_linear(replace(norm, role=role)) for role in ("q", "k"))
        half = 2 * self._stream.decoder * self._sizes.num_relative * self._sizes.num_heads * self._sizes.d_kv
        self._total += half * (q + k_of + k + q_of)

    def _distances_linear(self, place: Place) -> bool:
        """Count the backward pass of a table of distances through a linear layer, as `_linear` does of tokens."""
        layer = self._layers[place]
        x = self._added.embeddings or replace(place, side="input") in self._acting
        self._once += 2 * self._sizes.num_relative * layer.k * layer.n * (x + (place in self._own))
        values = x or place in self._own
        self._of_distances[place] = self._of_distances[replace(place, side="input")] = x, values
        return values or place in self._acting

    def _reads_distances(self, op: Op) -> bool:
        """Find out whether what an op reads of a table of distances needs a gradient."""
        if op.reads == "trained":
            return True
        assert op.place is not None, "an op over tokens needs a place"
        x, values = self._of_distances[op.place]
        return (x if op.reads == "input" else values) or (op.reads == "values" and op.place in self._added.places)

    def _reads(self, op: Op) -> bool:
        """Find out whether what an op reads needs a gradient."""
        if op.reads == "trained":
            return True
        assert op.place is not None, "an op over tokens needs a place"
        needs = self._read if op.reads == "input" else self._values
        return needs[op.place] or (op.reads == "values" and op.place in self._added.places)
