"""BLOOM: q, k and v interleaved per head in one layer; a penalty on distance (ALiBi) in place of positions.

The penalty is in `models/alibi.py`. The norm after the embeddings is a part of these, as learned positions are
elsewhere, and no site. In transformers it acts on whatever comes in as embeddings: on soft prompts too.

Paper: 2108.12409, section 3.
"""

from typing import Any

from peftbench.errors import ModelError
from peftbench.models.shapes import Attention, Block, Layer, Site, Sizes, norm

UNDEFINED = {"role ff_gate": "its feed-forward block has no gate"}
"""What is not defined on this family -> why: `peftbench list models` shows it."""


def sizes(config: Any) -> Sizes:
    """Read the shapes from a BLOOM config.

    Raises:
        ModelError: One whose linear layers transformers would compute in pieces, leaving out their biases.
    """
    if config.slow_but_exact and config.pretraining_tp > 1:
        raise ModelError(
            "slow_but_exact: such a model's linear layers are computed in pieces, where no method can act",
            hint="set it to false in config.json",
        )
    return Sizes(
        is_encoder_decoder=False,
        num_encoder_layers=0,
        num_decoder_layers=config.n_layer,
        d_model=config.hidden_size,
        d_kv=config.hidden_size // config.n_head,
        d_ff=4 * config.hidden_size,
        num_heads=config.n_head,
        num_kv_heads=config.n_head,
        gated=False,
        vocab_size=config.vocab_size,
        biased=("q", "k", "v", "o", "ff_up", "ff_out"),
        norm_biases=True,
        fused=True,
        alibi=True,
        num_other_parameters=2 * config.hidden_size,  # weight and bias of the embeddings' norm
    )


def max_positions(config: Any) -> int | None:
    """Return None, no limit: distances have none."""
    return None


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: q, k, v lie in query_key_value; dense is o, dense_h_to_4h ff_up, dense_4h_to_h ff_out."""
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    for attention in attentions(sizes):
        place = f"transformer.h.{attention.layer}"
        block = Block(attention.module, "decoder", attention.layer, "self")
        all_sites += block.interleaved("query_key_value", d_model, sizes.num_heads, sizes.d_kv)
        all_sites.append(block.output("o", "dense", d_model, d_model))
        block = Block(f"{place}.mlp", "decoder", attention.layer)
        all_sites.append(block.output("ff_up", "dense_h_to_4h", d_model, d_ff))
        all_sites.append(block.output("ff_out", "dense_4h_to_h", d_ff, d_model))
        all_sites.append(block.input("ff_hidden", "dense_4h_to_h", d_ff))
        for name in ("input_layernorm", "post_attention_layernorm"):
            all_sites.append(norm(f"{place}.{name}", "decoder", attention.layer, d_model))
    return [*all_sites, norm("transformer.ln_f", "decoder", sizes.num_decoder_layers - 1, d_model)]


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    return [
        Attention(f"transformer.h.{layer}.self_attention", "decoder", layer, "self", sizes.num_kv_heads, sizes.d_kv)
        for layer in range(sizes.num_decoder_layers)
    ]


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return [Layer(f"transformer.h.{layer}", "decoder", layer) for layer in range(sizes.num_decoder_layers)]


def skipped(layer: Any, states: Any, args: tuple[Any, ...]) -> Any:
    """Return states, and no attention weights."""
    return states, None


def rewire(model: Any) -> None:
    """Let this model compute with this package's attention, by distances that it is told."""
    from peftbench.models import alibi

    alibi.rewire(model)
