"""Values that a forward pass keeps for the backward pass, block by block, in closed form. Kind `counted`.

An operator keeps what its gradient needs, and only where something in it needs one:

    W x     x, if W is trained               norm(x)    x; in float32 for RMS norms
    l * x   x, if l is trained               act(x)     x, and what is between for functions made of several operators
    a * b   both factors                     attention  queries, keys, values, output, a number per query and head

Tensors of one storage count once: what one operator gives and the next keeps is one tensor.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from peftbench.costs.backward import Walked
from peftbench.costs.count import Stream
from peftbench.methods.base import FLOAT32_BYTES, Added, Op, Place
from peftbench.models.shapes import Elementwise, Role, Sizes, Stack

STEPS: Mapping[str, int] = {"relu": 0, "silu": 1, "gelu": 1, "gelu_pytorch_tanh": 1, "gelu_new": 4}
"""Activation function -> values that it keeps beside its output; gelu_new is made of seven operators."""
OWN_OUTPUT = ("relu",)
"""Activation functions that keep their output itself."""
COMMON = "gelu"


@dataclass(frozen=True)
class Block:
    """An attention or feed-forward block of a forward pass.

    Args:
        norm: The norm before it.
        kept: Bytes that it keeps for the backward pass.
        working: Bytes of gradients that its backward pass works with at once.
    """

    norm: Place
    kept: int
    working: int


class Blocks:
    """Counts what the blocks of a pass keep.

    Args:
        sizes: The model's shapes.
        elementwise: What it computes value by value.
        stream: How many tokens run where.
        added: What a method adds and trains.
        walked: The backward pass.
        value_bytes: Of the model's activations.
    """

    def __init__(
        self,
        sizes: Sizes,
        elementwise: Elementwise,
        stream: Stream,
        added: Added,
        walked: Walked,
        value_bytes: int,
    ) -> None:
        self._sizes, self._elementwise, self._stream, self._added = sizes, elementwise, stream, added
        self._walked, self._value_bytes = walked, value_bytes
        self._own, self._factors, self._acting = set(added.weights), set(added.factors), set(added.places)
        self._ops: dict[Place, list[Op]] = {}
        for op in added.ops:
            if op.place is not None and op.trained:
                self._ops.setdefault(op.place, []).append(op)

    def all(self) -> list[Block]:
        """List the blocks through which a gradient passes, or in which it ends."""
        return [self._block(norm) for norm in self._walked.run_backward]

    def _block(self, norm: Place) -> Block:
        is_ff = norm.block == "ff"
        inner = self._feed_forward(norm) if is_ff else self._attention(norm)
        width = self._sizes.d_ff if is_ff else self._sizes.num_heads * self._sizes.d_kv
        working = self._tokens(norm) * (2 * self._sizes.d_model + 3 * width) * self._value_bytes
        return Block(norm, self._norm(norm) + inner, working)

    def around(self) -> int:
        """Count what is kept around the layers: what goes into the last norms, and what cross-attention reads."""
        sizes, stream = self._sizes, self._stream
        stacks = dict.fromkeys(norm.stack for norm in self._walked.run_backward)
        total = sum(stream.tokens[stack] * sizes.d_model * self.norm_bytes for stack in stacks)
        roles: tuple[Role, ...] = ("k", "v")
        layers = [Place("decoder", layer, "cross", "norm") for layer in range(sizes.num_decoder_layers)]
        if sizes.is_encoder_decoder:
            reads = [self._input_bytes(norm, roles) for norm in layers]
            is_whole = self._value_bytes == FLOAT32_BYTES
            total += stream.encoder * sizes.d_model * (max(reads) if is_whole else sum(reads))
        return total

    def _tokens(self, place: Place) -> int:
        return self._stream.tokens[place.tokens]

    def _norm(self, norm: Place) -> int:
        """Count what the norm keeps of the residual stream, and its output where the layers behind it need it."""
        d_model, tokens = self._sizes.d_model, self._tokens(norm)
        is_trained = norm in self._acting or self._added.embeddings
        total = 0
        if self._walked.needs[norm] or is_trained:
            is_shared = self._sizes.parallel and norm.block == "ff"
            total += 0 if is_shared else tokens * d_model * self.norm_bytes
        if is_trained and self._elementwise.norm != "native":
            total += tokens * d_model * self._value_bytes
        if self._sizes.post_norms and norm.block != "cross":
            total += tokens * d_model * self.norm_bytes
        roles: tuple[Role, ...] = ("ff_gate", "ff_up") if norm.block == "ff" else ("q", "k", "v")
        if norm.block == "cross":  # keys and values read the encoder's states, which are one tensor for all layers
            roles = ("q",)
        return total + tokens * d_model * self._input_bytes(norm, roles)

    @property
    def norm_bytes(self) -> int:
        """Bytes that a norm keeps of each value that goes in."""
        if self._elementwise.norm == "native" or self._value_bytes == FLOAT32_BYTES:
            return self._value_bytes
        return FLOAT32_BYTES + (self._value_bytes if self._elementwise.norm == "both" else 0)

    def _input_bytes(self, norm: Place, roles: tuple[Role, ...]) -> int:
        """Count bytes of each value that linear layers keep of what goes into them.

        Matrices beside a layer are in float32: in half precision each has a copy of its own of what it reads.
        """
        places = [Place(norm.stack, norm.layer, norm.block, role) for role in roles]
        readers = [op for place in places for op in self._ops.get(place, ()) if op.reads == "input"]
        if self._value_bytes < FLOAT32_BYTES:
            copies = FLOAT32_BYTES * len(readers)
        else:
            copies = self._value_bytes if readers else 0
        own = self._own & set(places)
        inputs = [Place(norm.stack, norm.layer, norm.block, role, "input") for role in roles]
        scaled = len(self._factors & set(inputs))
        if self._value_bytes == FLOAT32_BYTES:
            return max(copies, self._value_bytes if own else 0, self._value_bytes if scaled else 0)
        return copies + (self._value_bytes if own else 0) + (self._value_bytes if scaled else 0)

    def _beside(self, norm: Place, roles: tuple[Role, ...]) -> int:
        """Count bytes kept by what a method puts at these layers' outputs: factors, and what its matrices read."""
        total = 0
        for role in roles:
            place = Place(norm.stack, norm.layer, norm.block, role)
            ops = [op for op in self._ops.get(place, ()) if op.reads != "input"]
            total += sum(self._tokens(place) * op.k * FLOAT32_BYTES for op in ops)
        return total

    def _attention(self, norm: Place) -> int:
        sizes, size = self._sizes, self._value_bytes
        queries = self._tokens(norm)
        keys = self._stream.tokens["cross"] if norm.block == "cross" else queries
        d_attn, d_keys = sizes.num_heads * sizes.d_kv, sizes.num_kv_heads * sizes.d_kv
        total = (2 * queries + 2 * (keys + self._added.extra_keys)) * d_attn * size  # q, output; k, v
        total += queries * sizes.num_heads * FLOAT32_BYTES  # logsumexp
        is_bias_trained = self._elementwise.position_bias and self._added.embeddings and norm.block != "cross"
        if is_bias_trained or self._elementwise.is_capped:
            scores = self._stream.pairs(norm.stack, norm.block) * sizes.num_heads * FLOAT32_BYTES
            total += scores * (2 if self._elementwise.is_capped else 1)
        whole = d_attn + 2 * d_keys
        widths: dict[Role, tuple[int, int]] = {"q": (queries, d_attn), "k": (keys, d_keys), "v": (keys, d_keys)}
        for role, (tokens, width) in widths.items():
            place = Place(norm.stack, norm.layer, norm.block, role)
            total += tokens * (whole if sizes.fused else width) * size * (place in self._factors)
        if sizes.head_norms:
            total += queries * (d_attn + d_keys) * self.norm_bytes
        o = Place(norm.stack, norm.layer, norm.block, "o")
        total += queries * sizes.d_model * size * (o in self._factors)
        into = self._input_bytes(norm, ("o",))
        total += queries * d_attn * (into if size < FLOAT32_BYTES else 0)  # in float32 it is attention's output
        return total + self._beside(norm, ("q", "k", "v", "o"))

    def _feed_forward(self, norm: Place) -> int:
        sizes, size, tokens = self._sizes, self._value_bytes, self._tokens(norm)
        activation = self._elementwise.activation
        place = {role: Place(norm.stack, norm.layer, "ff", role) for role in ("ff_gate", "ff_up", "ff_out")}
        hidden = Place(norm.stack, norm.layer, "ff", "ff_hidden")
        needed = self._walked.needs[place["ff_up"]] or self._own & {place["ff_up"]}
        wide = 0
        if needed:
            wide += STEPS.get(activation, STEPS[COMMON])
            wide += 2 if sizes.gated else activation in OWN_OUTPUT
        into = self._input_bytes(norm, ("ff_out",))
        if hidden in self._factors:
            into = max(into, size) if size == FLOAT32_BYTES else into + size
        if not sizes.gated and activation in OWN_OUTPUT and needed:
            into -= size if into >= size else 0
        wide += sum(other in self._factors for other in (place["ff_gate"], place["ff_up"]))
        total = tokens * sizes.d_ff * (wide * size + into)
        total += tokens * sizes.d_model * size * (place["ff_out"] in self._factors)
        return total + self._beside(norm, ("ff_gate", "ff_up", "ff_out"))


def per_layer(blocks: Iterable[Block]) -> dict[tuple[Stack, int], list[Block]]:
    """Put blocks into their layers, in order."""
    layers: dict[tuple[Stack, int], list[Block]] = {}
    for block in blocks:
        layers.setdefault((block.norm.stack, block.norm.layer), []).append(block)
    return layers
