"""ModernBERT: an encoder alone, with rotary positions, a gate, no biases, and a window in two layers of three.

Norms stand before the blocks; before the first block of all stands that of the embeddings, which is a part of these.
A window looks half of its width to either side.

Paper: 2412.13663, section 2.1.
"""

from typing import TYPE_CHECKING, Any

from peftbench.errors import ModelError
from peftbench.models import family
from peftbench.models.shapes import QKV, Attention, Block, Layer, Role, Site, Sizes, norm

if TYPE_CHECKING:
    from torch import Tensor

UNDEFINED = {
    "icl --as-prefix": "its tokens see those behind them, so that shots read a query together with it",
    "export --to merged of bitfit": "its layers have no biases",
}
"""What is not defined on this family -> why: `peftbench list models` shows it."""

HEADS = ("head", "decoder")
UNREAD: tuple[str, ...] = ()


def sizes(config: Any) -> Sizes:
    """Read the shapes from a ModernBERT config.

    Raises:
        ModelError: Heads do not divide, or the head is not tied to the embeddings.
    """
    d_model = config.hidden_size
    _check(config)
    norm_size = d_model * (2 if config.norm_bias else 1)
    head = d_model * d_model + (d_model if config.classifier_bias else 0) + norm_size
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
        gated=True,
        vocab_size=config.vocab_size,
        biased=_biased(config),
        norm_biases=config.norm_bias,
        no_first_norm=True,
        fused=True,
        fused_gate=True,
        num_other_parameters=norm_size + head + (config.vocab_size if config.decoder_bias else 0),
    )


def max_positions(config: Any) -> int | None:
    """Return the number of positions that the model was made for."""
    return config.max_position_embeddings


def window(config: Any) -> int | None:
    """Return how many tokens to either side its windowed layers look."""
    return config.local_attention // 2


def mask(config: Any, seen: "Tensor", dtype: Any) -> Any:
    """Build the masks of layers with a window and of those without, as `models.family.mask`."""
    import torch

    full = family.mask(config, seen, dtype)
    places = torch.arange(seen.shape[1], device=seen.device)
    is_far = (places[:, None] - places).abs() > config.local_attention // 2
    return {"full_attention": full, "sliding_attention": full.masked_fill(is_far, torch.finfo(dtype).min)}


def head(model: Any, hidden: "Tensor") -> "Tensor":
    """Compute the logits: a dense layer, a norm, and the embeddings."""
    return model.decoder(model.head(hidden)).float()


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: q, k, v are thirds of Wqkv's output, gate and up halves of Wi's; the two Wo are o and ff_out."""
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    for layer in layers(sizes):
        index, module = layer.layer, layer.module
        block = Block(f"{module}.attn", "decoder", index, "self")
        all_sites += [
            block.output(role, "Wqkv", d_model, d_model, start=place * d_model) for place, role in enumerate(QKV)
        ]
        all_sites.append(block.output("o", "Wo", d_model, d_model))
        if index:
            all_sites.append(norm(f"{module}.attn_norm", "decoder", index, d_model))
        block = Block(f"{module}.mlp", "decoder", index)
        all_sites.append(block.output("ff_gate", "Wi", d_model, d_ff))
        all_sites.append(block.output("ff_up", "Wi", d_model, d_ff, start=d_ff))
        all_sites += [block.output("ff_out", "Wo", d_ff, d_model), block.input("ff_hidden", "Wo", d_ff)]
        all_sites.append(norm(f"{module}.mlp_norm", "decoder", index, d_model))
    return [*all_sites, norm("model.final_norm", "decoder", sizes.num_decoder_layers - 1, d_model)]


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    heads = (sizes.num_kv_heads, sizes.d_kv)
    return [Attention(f"{layer.module}.attn", "decoder", layer.layer, "self", *heads) for layer in layers(sizes)]


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return [Layer(f"model.layers.{layer}", "decoder", layer) for layer in range(sizes.num_decoder_layers)]


def _biased(config: Any) -> tuple[Role, ...]:
    attention: tuple[Role, ...] = ("q", "k", "v", "o") if config.attention_bias else ()
    return (*attention, *(("ff_gate", "ff_up", "ff_out") if config.mlp_bias else ()))


def _check(config: Any) -> None:
    if config.hidden_size % config.num_attention_heads:
        raise ModelError(f"{config.num_attention_heads} heads do not divide {config.hidden_size} features")
    if not config.tie_word_embeddings:
        raise ModelError(
            "a ModernBERT whose head is not tied to its embeddings (tie_word_embeddings = false)",
            hint="they are one matrix here, as in the published models",
        )
