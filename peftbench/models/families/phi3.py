"""Phi-3, Phi-3.5 and Phi-4: Llama's shape with q, k and v in one layer, one after the other; gate and up in another."""

from dataclasses import replace
from typing import Any

from peftbench.models.families import llama
from peftbench.models.families.llama import attentions, elementwise, layers, max_positions, window
from peftbench.models.shapes import Block, Site, Sizes, norm

__all__ = ["attentions", "elementwise", "layers", "max_positions", "sites", "sizes", "window"]

UNDEFINED = {
    "icl --as-prefix": "not where attention has a window: Phi-3 mini",
    "export --to merged of bitfit": "its layers have no biases",
}
"""What is not defined on this family -> why: `peftbench list models` shows it."""


def sizes(config: Any) -> Sizes:
    """Read the shapes from a Phi-3 config."""
    return replace(llama.sizes(config), fused=True, fused_gate=True)


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: slices of qkv_proj and of gate_up_proj; o_proj, and down_proj as ff_out."""
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    d_query, d_key = sizes.num_heads * sizes.d_kv, sizes.num_kv_heads * sizes.d_kv
    for attention in attentions(sizes):
        layer = attention.layer
        block = Block(attention.module, "decoder", layer, "self")
        all_sites.append(block.output("q", "qkv_proj", d_model, d_query))
        all_sites.append(block.output("k", "qkv_proj", d_model, d_key, start=d_query))
        all_sites.append(block.output("v", "qkv_proj", d_model, d_key, start=d_query + d_key))
        all_sites.append(block.output("o", "o_proj", d_query, d_model))
        block = Block(f"model.layers.{layer}.mlp", "decoder", layer)
        all_sites.append(block.output("ff_gate", "gate_up_proj", d_model, d_ff))
        all_sites.append(block.output("ff_up", "gate_up_proj", d_model, d_ff, start=d_ff))
        all_sites += [block.output("ff_out", "down_proj", d_ff, d_model), block.input("ff_hidden", "down_proj", d_ff)]
        names = ("input_layernorm", "post_attention_layernorm")
        all_sites += [norm(f"model.layers.{layer}.{name}", "decoder", layer, d_model) for name in names]
    return [*all_sites, norm("model.norm", "decoder", sizes.num_decoder_layers - 1, d_model)]
