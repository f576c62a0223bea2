"""BERT: an encoder alone, norms behind the blocks, learned positions, biases everywhere; a head that fills masks.

    y = norm(x + block(x))

Its layers make one stack, called "decoder" here as that of any model with one. The norm after the embeddings is a part
of these, and the dense layer and norm of the head a part of that; neither is a site. The second kind of segment is not
used: a text stands in the first one, as a text by itself does.

Paper: 1810.04805, section 3.
"""

from typing import TYPE_CHECKING, Any

from peftbench.errors import ModelError
from peftbench.models.shapes import Attention, Block, Layer, Site, Sizes, norm

if TYPE_CHECKING:
    from torch import Tensor

UNDEFINED = {
    "icl --as-prefix": "its tokens see those behind them, so that shots read a query together with it",
    "role ff_gate": "its feed-forward block has no gate",
}
"""What is not defined on this family -> why: `peftbench list models` shows it."""

HEADS = ("cls",)
UNREAD = ("bert.pooler.", "pooler.", "cls.seq_relationship.")
"""What checkpoints hold for other objectives: the first token's state through a layer, and next-sentence prediction."""


def sizes(config: Any) -> Sizes:
    """Read the shapes from a BERT-like config.

    Raises:
        ModelError: It is a decoder, or heads do not divide.
    """
    return encoder(config, num_positions=config.max_position_embeddings)


def encoder(config: Any, num_positions: int) -> Sizes:
    """Read the shapes of an encoder with BERT's layers, embeddings and head.

    Args:
        config: The model's.
        num_positions: Rows of the table of positions.

    Raises:
        ModelError: It is a decoder, or heads do not divide.
    """
    _check(config)
    d_model, vocab_size = config.hidden_size, config.vocab_size
    embeddings = (num_positions + config.type_vocab_size + 2) * d_model  # with the weight and bias of their norm
    head = d_model * d_model + 3 * d_model + vocab_size  # a dense layer, a norm, a bias for each word
    return Sizes(
        is_encoder_decoder=False,
        is_encoder_only=True,
        num_encoder_layers=0,
        num_decoder_layers=config.num_hidden_layers,
        d_model=d_model,
        d_kv=d_model // config.num_attention_heads,
        d_ff=config.intermediate_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        gated=False,
        vocab_size=vocab_size,
        biased=("q", "k", "v", "o", "ff_up", "ff_out"),
        norm_biases=True,
        norms_behind=True,
        num_other_parameters=embeddings + head,
    )


def max_positions(config: Any) -> int | None:
    """Return the number of learned positions."""
    return config.max_position_embeddings


def head(model: Any, hidden: "Tensor") -> "Tensor":
    """Compute the logits: a dense layer, a norm, and the embeddings with a bias for each word."""
    return model.cls(hidden).float()


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: query, key, value, the block's output.dense as o; intermediate is ff_up, output ff_out."""
    return encoder_sites(sizes, "bert")


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    return encoder_attentions(sizes, "bert")


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return encoder_layers(sizes, "bert")


def encoder_sites(sizes: Sizes, body: str, qkv: tuple[str, str, str] = ("query", "key", "value")) -> list[Site]:
    """Name every site of an encoder with BERT's layers.

    Args:
        sizes: Its shapes.
        body: Name of the module without the head.
        qkv: Names of the layers of queries, keys and values.
    """
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    query, key, value = qkv
    for layer in encoder_layers(sizes, body):
        block = Block(f"{layer.module}.attention.self", "decoder", layer.layer, "self")
        all_sites.append(block.output("q", query, d_model, d_model))
        all_sites.append(block.output("k", key, d_model, d_model))
        all_sites.append(block.output("v", value, d_model, d_model))
        block = Block(layer.module, "decoder", layer.layer, "self")
        all_sites.append(block.output("o", "attention.output.dense", d_model, d_model))
        block = Block(layer.module, "decoder", layer.layer)
        all_sites.append(block.output("ff_up", "intermediate.dense", d_model, d_ff))
        all_sites.append(block.output("ff_out", "output.dense", d_ff, d_model))
        all_sites.append(block.input("ff_hidden", "output.dense", d_ff))
        for place in ("attention.output", "output"):
            all_sites.append(norm(f"{layer.module}.{place}.LayerNorm", "decoder", layer.layer, d_model))
    return all_sites


def encoder_attentions(sizes: Sizes, body: str) -> list[Attention]:
    """List the self-attention of each layer of an encoder with BERT's layers."""
    return [
        Attention(f"{layer.module}.attention.self", "decoder", layer.layer, "self", sizes.num_kv_heads, sizes.d_kv)
        for layer in encoder_layers(sizes, body)
    ]


def encoder_layers(sizes: Sizes, body: str) -> list[Layer]:
    """List the layers of an encoder with BERT's layers."""
    return [Layer(f"{body}.encoder.layer.{layer}", "decoder", layer) for layer in range(sizes.num_decoder_layers)]


def _check(config: Any) -> None:
    if getattr(config, "is_decoder", False):
        raise ModelError(
            "a masked model that was made a decoder (is_decoder = true)", hint="its config without is_decoder"
        )
    if config.hidden_size % config.num_attention_heads:
        raise ModelError(f"{config.num_attention_heads} heads do not divide {config.hidden_size} features")
    if not config.tie_word_embeddings:
        raise ModelError(
            "a masked model whose head is not tied to its embeddings (tie_word_embeddings = false)",
            hint="they are one matrix here, as in the published models",
        )
