"""Published shapes of the paper's models, and the closed form of a model's parameter count."""

from dataclasses import dataclass

from peftbench.models.backbone import Sizes


@dataclass(frozen=True)
class Shape:
    """A model as published: its sizes, and what its parameter count needs beyond them.

    Args:
        tied: Whether the LM head is the embedding matrix.
        biases: Whether linear layers and norms have biases (GPT-2, GPT-3), or neither has (T5, Llama).
        num_positions: Learned absolute positions; 0 where positions are rotary or relative.
        relative_buckets: Relative position buckets per stack and head (T5); 0 where there are none.
    """

    sizes: Sizes
    tied: bool
    biases: bool = False
    num_positions: int = 0
    relative_buckets: int = 0


def num_parameters(shape: Shape) -> int:
    """Count all parameters: embeddings, positions, layers, norms, LM head.

    Exact for T5, GPT-2/GPT-3 and Llama; not for families with biases on some projections only (Qwen2).
    """
    sizes = shape.sizes
    embeddings = (1 if shape.tied else 2) * sizes.vocab_size * sizes.d_model + shape.num_positions * sizes.d_model
    stacks = 2 if sizes.is_encoder_decoder else 1
    norm = sizes.d_model * (2 if shape.biases else 1)
    feed_forward = _feed_forward(shape) + norm
    encoder = sizes.num_encoder_layers * (_attention(shape) + norm + feed_forward)
    per_decoder_layer = (_attention(shape) + norm) * stacks + feed_forward
    ends = stacks * (norm + shape.relative_buckets * sizes.num_heads)
    return embeddings + encoder + sizes.num_decoder_layers * per_decoder_layer + ends


def _attention(shape: Shape) -> int:
    sizes = shape.sizes
    d_query, d_key = sizes.num_heads * sizes.d_kv, sizes.num_kv_heads * sizes.d_kv
    biases = d_query + 2 * d_key + sizes.d_model if shape.biases else 0
    return 2 * sizes.d_model * d_query + 2 * sizes.d_model * d_key + biases


def _feed_forward(shape: Shape) -> int:
    sizes = shape.sizes
    into = 2 if sizes.gated else 1
    biases = into * sizes.d_ff + sizes.d_model if shape.biases else 0
    return (into + 1) * sizes.d_model * sizes.d_ff + biases


def _t0(num_heads: int, d_ff: int, d_model: int, d_kv: int) -> Shape:
    """T0 has the shape of T5 v1.1: gated, LM head of its own."""
    sizes = Sizes(True, 24, 24, d_model, d_kv, d_ff, num_heads, num_heads, gated=True, vocab_size=32_128)
    return Shape(sizes, tied=False, relative_buckets=32)


def _gpt3(num_layers: int, d_model: int, num_heads: int) -> Shape:
    d_kv = d_model // num_heads
    sizes = Sizes(
        False, 0, num_layers, d_model, d_kv, 4 * d_model, num_heads, num_heads, gated=False, vocab_size=50_257
    )
    return Shape(sizes, tied=True, biases=True, num_positions=2048)


_T0_11B = _t0(num_heads=64, d_ff=10_240, d_model=4096, d_kv=64)

# GPT-3's locally banded sparse layers (every other one) are counted as dense ones. Its published 13B width, 5,140, is
# no multiple of 40 heads; 5,120 is.
SHAPES = {
    "t0-3b": _t0(num_heads=32, d_ff=5120, d_model=2048, d_kv=64),
    "t0-11b": _T0_11B,
    "t5-lm-11b": _T0_11B,
    "gpt3-6.7b": _gpt3(num_layers=32, d_model=4096, num_heads=32),
    "gpt3-13b": _gpt3(num_layers=40, d_model=5120, num_heads=40),
    "gpt3-175b": _gpt3(num_layers=96, d_model=12_288, num_heads=96),
}
"""Name -> published shape."""
