"""Shapes of a transformer, and the named places where methods can act: no tensor and no torch."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

Role = Literal["q", "k", "v", "o", "ff_gate", "ff_up", "ff_out", "ff_hidden", "norm"]


Stack = Literal["encoder", "decoder"]


QKV: tuple[Role, ...] = ("q", "k", "v")


@dataclass(frozen=True)
class Sizes:
    """Shapes of a transformer, enough to count its matmuls; names as in Hugging Face's T5 config.

    Args:
        num_encoder_layers: 0 for decoder-only models.
        num_kv_heads: Fewer than num_heads under grouped-query attention.
        gated: Whether the feed-forward block has a gate (two matrices in, one out).
        biased: Roles whose linear layers have a bias.
        norm_biases: Whether norms have a bias beside their weight (GPT-2).
        head_norms: Whether the queries and keys of each head are normalised (Qwen3).
        fused: Whether one layer computes q, k and v (GPT-2).
        fused_gate: Whether one layer computes both factors of a gated feed-forward block (Phi-3).
        post_norms: Whether what a block adds to the residual stream is normalised too (Gemma 2).
        alibi: Whether attention counts how far back a key stands, in place of positions (BLOOM).
        parallel: Whether attention and the feed-forward block both read what enters the layer (GPT-NeoX).
        norms_behind: Whether norms stand behind the blocks, on the residual stream, and none at a stack's end (BART).
        no_first_norm: Whether no norm stands before the lowest layer's attention: it is a part of the embeddings
            (ModernBERT).
        is_encoder_only: Whether tokens see those behind them too, and a mask's place is predicted in place of the next
            token; its layers are the one stack of the model, called "decoder" as any such. Its head has a square layer
            before the vocabulary's matrix (BERT).
        num_relative: Distances in a table that passes the layers of queries and keys once in each pass, whatever its
            tokens, and is compared with each token's query and key (DeBERTa); 0: there is none.
        num_classes: Classes of a layer on the pooled state that stands in the head's place; 0: it is the model's own.
        num_start_tokens: From how many tokens a decoder of an encoder-decoder starts; the last one predicts the
            answer's first token.
        num_other_parameters: Those beside token embeddings, linear layers and the norms that methods see: learned
            positions, relative position biases, norms of the embeddings.
    """

    is_encoder_decoder: bool
    num_encoder_layers: int
    num_decoder_layers: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    num_kv_heads: int
    gated: bool
    vocab_size: int
    biased: tuple[Role, ...] = ()
    norm_biases: bool = False
    head_norms: bool = False
    fused: bool = False
    fused_gate: bool = False
    post_norms: bool = False
    alibi: bool = False
    parallel: bool = False
    norms_behind: bool = False
    no_first_norm: bool = False
    is_encoder_only: bool = False
    num_relative: int = 0
    num_classes: int = 0
    num_start_tokens: int = 1
    num_other_parameters: int = 0

    @property
    def num_fed_more(self) -> int:
        """How many more tokens are fed for an answer than it has; decoder-only: -1, its last one is only predicted."""
        if self.is_encoder_only:  # a mask stands for each
            return 0
        return self.num_start_tokens - 1 if self.is_encoder_decoder else -1

    @property
    def is_causal(self) -> bool:
        """Whether no token sees those behind it, so that what is before a query is the same for all queries."""
        return not self.is_encoder_decoder and not self.is_encoder_only

    @property
    def kind(self) -> str:
        """What kind of transformer it is, in words."""
        if self.is_encoder_only:
            return "encoder-only"
        return "encoder-decoder" if self.is_encoder_decoder else "decoder-only"

    @property
    def num_layers(self) -> int:
        """Layers of both stacks."""
        return self.num_encoder_layers + self.num_decoder_layers

    def together(self, role: Role) -> tuple[Role, ...]:
        """List the roles that the layer of `role` computes, itself among them."""
        groups: list[tuple[Role, ...]] = [QKV] if self.fused else []
        groups += [("ff_gate", "ff_up")] if self.fused_gate else []
        return next((group for group in groups if role in group), (role,))


@dataclass(frozen=True)
class Elementwise:
    """What a model computes value by value, as far as memory depends on it.

    Args:
        activation: Name of the feed-forward block's activation function, as in Hugging Face's configs.
        norm: "native": torch's layer norm, which keeps its input. "float32": an RMS norm that keeps a float32 copy of
            its input; "both": that and the input itself (T5). In float32 copy and input are one tensor.
        is_capped: Whether attention keeps scores within bounds (Gemma 2), which no fused kernel computes.
        position_bias: Whether a learned bias goes by relative positions, for each head (T5): where it is trained, no
            fused kernel computes attention either.
        num_windowed: Layers whose attention has a window, each with a mask of its own.
    """

    activation: str
    norm: Literal["native", "float32", "both"] = "native"
    is_capped: bool = False
    position_bias: bool = False
    num_windowed: int = 0


@dataclass(frozen=True)
class Site:
    """A place where a method can act: one side of a linear layer, or a slice of it where the model fuses several.

    Args:
        role: What the layer does in the paper's terms; "ff_hidden" is the input side of the second feed-forward
            matmul, "norm" the output of a normalisation, which is no linear layer.
        module: Full name of the linear (or Conv1D) module.
        side: Whether the site is the module's "input" or its "output".
        start: First feature of the slice on that side, or of each head's slice.
        stop: One past the last feature of it.
        in_features: Features that go into the whole module.
        stack: Which stack the layer belongs to; "decoder" for models of one stack.
        layer: Layer index in its stack.
        attention: Which attention block the layer belongs to; None for feed-forward layers.
        heads: How many slices there are: GPT-NeoX and BLOOM have q, k and v of a head next to each other, then those
            of the next head. One for all other models.
        step: Features from one slice's first to that of the next.
    """

    role: Role
    module: str
    side: Literal["input", "output"]
    start: int
    stop: int
    in_features: int
    stack: Stack
    layer: int
    attention: Literal["self", "cross"] | None
    heads: int = 1
    step: int = 0

    @property
    def features(self) -> int:
        """Number of features at the site."""
        return self.heads * (self.stop - self.start)

    @property
    def index(self) -> slice | list[int]:
        """What picks the site's features out of all those on its side of the layer."""
        if self.heads == 1:
            return slice(self.start, self.stop)
        return [head * self.step + feature for head in range(self.heads) for feature in range(self.start, self.stop)]

    def input(self) -> "Site":
        """Build the site at the whole input of the same layer."""
        return replace(self, side="input", start=0, stop=self.in_features, heads=1, step=0)

    @property
    def tokens(self) -> Literal["encoder", "decoder", "cross"]:
        """Whose tokens pass: cross-attention's keys and values are computed from the encoder's."""
        return "cross" if self.attention == "cross" and self.role in ("k", "v") else self.stack


@dataclass(frozen=True)
class Attention:
    """One attention block, where a prefix of keys and values can be put."""

    module: str
    stack: Stack
    layer: int
    kind: Literal["self", "cross"]
    num_kv_heads: int
    d_kv: int


@dataclass(frozen=True)
class Layer:
    """One layer of a stack: attention, feed-forward block and norms."""

    module: str
    stack: Stack
    layer: int


@dataclass(frozen=True)
class Block:
    """A part of a layer in which linear modules lie: an attention block or a feed-forward block."""

    module: str
    stack: Stack
    layer: int
    attention: Literal["self", "cross"] | None = None

    def output(self, role: Role, name: str, in_features: int, features: int, start: int = 0) -> Site:
        """Build the site at the output of the linear layer `name`; `start` where several roles share it."""
        module = f"{self.module}.{name}"
        stop = start + features
        return Site(role, module, "output", start, stop, in_features, self.stack, self.layer, self.attention)

    def interleaved(self, name: str, in_features: int, num_heads: int, d_kv: int) -> list[Site]:
        """Build the sites of q, k and v at the output of one layer, (num_heads, 3, d_kv)."""
        whole = [self.output(role, name, in_features, d_kv, place * d_kv) for place, role in enumerate(QKV)]
        return [replace(site, heads=num_heads, step=3 * d_kv) for site in whole]

    def input(self, role: Role, name: str, in_features: int) -> Site:
        """Build the site at the input of the linear layer `name`."""
        module = f"{self.module}.{name}"
        return Site(role, module, "input", 0, in_features, in_features, self.stack, self.layer, self.attention)


def norm(module: str, stack: Stack, layer: int, features: int) -> Site:
    """Build the site at the output of a norm; a stack's last norm belongs to its top layer."""
    return Site("norm", module, "output", 0, features, features, stack, layer, None)


@dataclass(frozen=True)
class EncoderSizes:
    """What the FLOPs of an encoder's hidden states follow from.

    Args:
        num_weights: Weights of all linear layers that each token passes.
        num_layers: Layers with attention of each token to all.
        d_model: Width of the hidden states, and of all heads together.
        num_parameters: Of the whole model.

    Attributes:
        is_encoder_only: False: it makes vectors, and no mask in a text is filled by it.
    """

    is_encoder_only: ClassVar[bool] = False
    num_weights: int
    num_layers: int
    d_model: int
    num_parameters: int
