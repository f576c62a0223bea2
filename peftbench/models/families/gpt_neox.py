"""GPT-NeoX and Pythia: q, k and v interleaved per head in one layer, partly rotary, attention beside feed-forward.

    y = x + attention(norm_1 x) + ff(norm_2 x)

Without use_parallel_residual they stand one after the other, as elsewhere.
"""

from typing import Any

from peftbench.models.shapes import Attention, Block, Layer, Role, Site, Sizes, norm

UNDEFINED = {"role ff_gate": "its feed-forward block has no gate"}
"""What is not defined on this family -> why: `peftbench list models` shows it."""


def sizes(config: Any) -> Sizes:
    """Read the shapes from a GPT-NeoX config."""
    attention: tuple[Role, ...] = ("q", "k", "v", "o") if config.attention_bias else ()
    return Sizes(
        is_encoder_decoder=False,
        num_encoder_layers=0,
        num_decoder_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        d_kv=config.hidden_size // config.num_attention_heads,
        d_ff=config.intermediate_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_attention_heads,
        gated=False,
        vocab_size=config.vocab_size,
        biased=(*attention, "ff_up", "ff_out"),
        norm_biases=True,
        fused=True,
        parallel=config.use_parallel_residual,
    )


def max_positions(config: Any) -> int | None:
    """Return the number of positions that the model was made for; rotary positions go on, its accuracy does not."""
    return config.max_position_embeddings


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: q, k, v lie in query_key_value; dense is o, dense_h_to_4h ff_up, dense_4h_to_h ff_out."""
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    for attention in attentions(sizes):
        place = f"gpt_neox.layers.{attention.layer}"
        block = Block(attention.module, "decoder", attention.layer, "self")
        all_sites += block.interleaved("query_key_value", d_model, sizes.num_heads, sizes.d_kv)
        all_sites.append(block.output("o", "dense", d_model, d_model))
        block = Block(f"{place}.mlp", "decoder", attention.layer)
        all_sites.append(block.output("ff_up", "dense_h_to_4h", d_model, d_ff))
        all_sites.append(block.output("ff_out", "dense_4h_to_h", d_ff, d_model))
        all_sites.append(block.input("ff_hidden", "dense_4h_to_h", d_ff))
        for name in ("input_layernorm", "post_attention_layernorm"):
            all_sites.append(norm(f"{place}.{name}", "decoder", attention.layer, d_model))
    return [*all_sites, norm("gpt_neox.final_layer_norm", "decoder", sizes.num_decoder_layers - 1, d_model)]


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    return [
        Attention(f"gpt_neox.layers.{layer}.attention", "decoder", layer, "self", sizes.num_kv_heads, sizes.d_kv)
        for layer in range(sizes.num_decoder_layers)
    ]


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return [Layer(f"gpt_neox.layers.{layer}", "decoder", layer) for layer in range(sizes.num_decoder_layers)]
