"""OPT: GPT-2's shape with q, k and v in layers of their own and ReLU; learned positions.

Refused are opt-350m, whose embeddings are narrower than its layers and whose norms stand behind the blocks, and
Galactica, whose norms have no parameters.

Paper: 2205.01068, section 2.
"""

from collections.abc import Mapping
from typing import Any

from peftbench.errors import ModelError
from peftbench.models.family import activation
from peftbench.models.shapes import Attention, Block, Elementwise, Layer, Role, Site, Sizes, norm

UNDEFINED = {"role ff_gate": "its feed-forward block has no gate"}
"""What is not defined on this family -> why: `peftbench list models` shows it."""


def sizes(config: Any) -> Sizes:
    """Read the shapes from an OPT config.

    Raises:
        ModelError: A variant that is not known here.
    """
    _check(config)
    biased: tuple[Role, ...] = ("q", "k", "v", "o", "ff_up", "ff_out")
    return Sizes(
        is_encoder_decoder=False,
        num_encoder_layers=0,
        num_decoder_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        d_kv=config.hidden_size // config.num_attention_heads,
        d_ff=config.ffn_dim,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        gated=False,
        vocab_size=config.vocab_size,
        biased=biased if config.enable_bias else (),
        norm_biases=True,
        num_other_parameters=(config.max_position_embeddings + 2) * config.hidden_size,  # the first two have no token
    )


def max_positions(config: Any) -> int | None:
    """Return the number of learned positions."""
    return config.max_position_embeddings


def elementwise(table: Mapping[str, Any]) -> Elementwise:
    """Read the activation function."""
    return Elementwise(activation(table, "relu"))


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: q_proj, k_proj, v_proj, out_proj as o; fc1 is ff_up, fc2 ff_out."""
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    for attention in attentions(sizes):
        place = f"model.decoder.layers.{attention.layer}"
        block = Block(attention.module, "decoder", attention.layer, "self")
        all_sites.append(block.output("q", "q_proj", d_model, d_model))
        all_sites.append(block.output("k", "k_proj", d_model, d_model))
        all_sites.append(block.output("v", "v_proj", d_model, d_model))
        all_sites.append(block.output("o", "out_proj", d_model, d_model))
        block = Block(place, "decoder", attention.layer)
        all_sites.append(block.output("ff_up", "fc1", d_model, d_ff))
        all_sites += [block.output("ff_out", "fc2", d_ff, d_model), block.input("ff_hidden", "fc2", d_ff)]
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            all_sites.append(norm(f"{place}.{name}", "decoder", attention.layer, d_model))
    return [*all_sites, norm("model.decoder.final_layer_norm", "decoder", sizes.num_decoder_layers - 1, d_model)]


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    return [
        Attention(f"{layer.module}.self_attn", "decoder", layer.layer, "self", sizes.num_kv_heads, sizes.d_kv)
        for layer in layers(sizes)
    ]


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return [Layer(f"model.decoder.layers.{layer}", "decoder", layer) for layer in range(sizes.num_decoder_layers)]


def _check(config: Any) -> None:
    """Refuse the variants of single models, whose shapes are counted nowhere here."""
    variants = {
        f"word_embed_proj_dim = {config.word_embed_proj_dim} and hidden_size = {config.hidden_size}": (
            config.word_embed_proj_dim != config.hidden_size
        ),
        "do_layer_norm_before = false": not config.do_layer_norm_before,
        "_remove_final_layer_norm = true": config._remove_final_layer_norm,
        "layer_norm_elementwise_affine = false": not config.layer_norm_elementwise_affine,
    }
    refused = [variant for variant, is_so in variants.items() if is_so]
    if refused:
        raise ModelError(
            f"an OPT with {' and '.join(refused)}",
            hint="known here are OPTs like opt-125m and those from opt-1.3b on; opt-350m and Galactica are not",
        )
