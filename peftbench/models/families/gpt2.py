"""GPT-2: Conv1D layers (weights lie transposed), q, k and v fused in one of them."""

from collections.abc import Mapping
from typing import Any

from peftbench.models.family import activation
from peftbench.models.shapes import Attention, Block, Elementwise, Layer, Site, Sizes, norm

UNDEFINED = {"role ff_gate": "its feed-forward block has no gate"}
"""What is not defined on this family -> why: `peftbench list models` shows it."""


def sizes(config: Any) -> Sizes:
    """Read the shapes from a GPT-2 config."""
    return Sizes(
        is_encoder_decoder=False,
        num_encoder_layers=0,
        num_decoder_layers=config.n_layer,
        d_model=config.n_embd,
        d_kv=config.n_embd // config.n_head,
        d_ff=config.n_inner or 4 * config.n_embd,
        num_heads=config.n_head,
        num_kv_heads=config.n_head,
        gated=False,
        vocab_size=config.vocab_size,
        biased=("q", "k", "v", "o", "ff_up", "ff_out"),
        norm_biases=True,
        fused=True,
        num_other_parameters=config.n_positions * config.n_embd,
    )


def max_positions(config: Any) -> int | None:
    """Return the number of learned positions."""
    return config.n_positions


def elementwise(table: Mapping[str, Any]) -> Elementwise:
    """Read the activation function."""
    return Elementwise(activation(table, "gelu_new"))


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: q, k, v are thirds of c_attn's output; c_fc is ff_up, the second c_proj ff_out."""
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    for attention in attentions(sizes):
        layer = attention.layer
        block = Block(attention.module, "decoder", layer, "self")
        all_sites.append(block.output("q", "c_attn", d_model, d_model))
        all_sites.append(block.output("k", "c_attn", d_model, d_model, start=d_model))
        all_sites.append(block.output("v", "c_attn", d_model, d_model, start=2 * d_model))
        all_sites.append(block.output("o", "c_proj", d_model, d_model))
        block = Block(f"transformer.h.{layer}.mlp", "decoder", layer)
        all_sites.append(block.output("ff_up", "c_fc", d_model, d_ff))
        all_sites += [block.output("ff_out", "c_proj", d_ff, d_model), block.input("ff_hidden", "c_proj", d_ff)]
        all_sites += [norm(f"transformer.h.{layer}.{name}", "decoder", layer, d_model) for name in ("ln_1", "ln_2")]
    return [*all_sites, norm("transformer.ln_f", "decoder", sizes.num_decoder_layers - 1, d_model)]


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    return [
        Attention(f"transformer.h.{layer}.attn", "decoder", layer, "self", sizes.num_kv_heads, sizes.d_kv)
        for layer in range(sizes.num_decoder_layers)
    ]


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return [Layer(f"transformer.h.{layer}", "decoder", layer) for layer in range(sizes.num_decoder_layers)]
