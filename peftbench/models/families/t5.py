"""T5: v1.0 (ReLU) and the gated v1.1, LM-adapted, T0 and FLAN shapes."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peftbench.models.family import logits
from peftbench.models.shapes import Attention, Block, Elementwise, Layer, Site, Sizes, Stack, norm

if TYPE_CHECKING:
    from torch import Tensor

UNDEFINED = {
    "icl --as-prefix": "its encoder reads shots and query together",
    "role ff_gate": "v1.0 has no gate",
    "export --to merged of bitfit": "its layers have no biases",
    "--dtype float16": "its activations overflow it; bfloat16 has as many bytes",
}
"""What is not defined on this family -> why: `peftbench list models` shows it."""


def sizes(config: Any) -> Sizes:
    """Read the shapes from a T5 config; d_kv is its own field, not d_model / num_heads."""
    return Sizes(
        is_encoder_decoder=True,
        num_encoder_layers=config.num_layers,
        num_decoder_layers=config.num_decoder_layers,
        d_model=config.d_model,
        d_kv=config.d_kv,
        d_ff=config.d_ff,
        num_heads=config.num_heads,
        num_kv_heads=config.num_heads,
        gated=config.feed_forward_proj.startswith("gated-"),
        vocab_size=config.vocab_size,
        num_other_parameters=2 * config.relative_attention_num_buckets * config.num_heads,  # one table a stack
    )


def max_positions(config: Any) -> int | None:
    """Return None, no limit: positions are relative."""
    return None


def head(model: Any, hidden: "Tensor") -> "Tensor":
    """Compute the logits, of hidden states that v1.0 scales by d_model^(-1/2)."""
    if model.config.scale_decoder_outputs:
        hidden = hidden * model.config.d_model**-0.5
    return logits(model, hidden)


def skipped(layer: Any, states: "Tensor", args: tuple[Any, ...]) -> Any:
    """Return states with the biases of self- and cross-attention: the lowest layer makes them for those above it."""
    bias = args[1]
    if bias is None:
        num_tokens = states.shape[1]
        bias = layer.layer[0].SelfAttention.compute_bias(num_tokens, num_tokens)
    return states, bias, None  # the next layer that is run makes cross-attention's, of zeros


def elementwise(table: Mapping[str, Any]) -> Elementwise:
    """Read the activation function, "gated-gelu" for gelu_new as transformers does."""
    activation = table.get("feed_forward_proj", "relu").removeprefix("gated-")
    name = "gelu_new" if activation == "gelu" else activation
    return Elementwise(name, norm="both", position_bias=True)


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: attention as q, k, v, o; the feed-forward block as wi (v1.0) or wi_0, wi_1 (gated), then wo.

    A norm stands before each block, and one at the end of each stack.
    """
    all_sites = []
    d_model, d_attn, d_ff = sizes.d_model, sizes.num_heads * sizes.d_kv, sizes.d_ff
    for attention in attentions(sizes):
        block = Block(attention.module, attention.stack, attention.layer, attention.kind)
        all_sites += [block.output(role, role, d_model, d_attn) for role in ("q", "k", "v")]
        all_sites.append(block.output("o", "o", d_attn, d_model))
    for stack, layer in _layers(sizes):
        place = 1 if stack == "encoder" else 2
        block = Block(f"{stack}.block.{layer}.layer.{place}.DenseReluDense", stack, layer)
        if sizes.gated:
            all_sites.append(block.output("ff_gate", "wi_0", d_model, d_ff))
        all_sites.append(block.output("ff_up", "wi_1" if sizes.gated else "wi", d_model, d_ff))
        all_sites += [block.output("ff_out", "wo", d_ff, d_model), block.input("ff_hidden", "wo", d_ff)]
        for index in range(place + 1):
            all_sites.append(norm(f"{stack}.block.{layer}.layer.{index}.layer_norm", stack, layer, d_model))
    all_sites.append(norm("encoder.final_layer_norm", "encoder", sizes.num_encoder_layers - 1, d_model))
    all_sites.append(norm("decoder.final_layer_norm", "decoder", sizes.num_decoder_layers - 1, d_model))
    return all_sites


def attentions(sizes: Sizes) -> list[Attention]:
    """List encoder self-attention, then each decoder layer's self- and cross-attention."""
    blocks = []
    for stack, layer in _layers(sizes):
        place = f"{stack}.block.{layer}.layer"
        heads = (sizes.num_kv_heads, sizes.d_kv)
        blocks.append(Attention(f"{place}.0.SelfAttention", stack, layer, "self", *heads))
        if stack == "decoder":
            blocks.append(Attention(f"{place}.1.EncDecAttention", stack, layer, "cross", *heads))
    return blocks


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers; each stack's lowest one also holds its table of relative positions."""
    return [Layer(f"{stack}.block.{layer}", stack, layer) for stack, layer in _layers(sizes)]


def _layers(sizes: Sizes) -> list[tuple[Stack, int]]:
    encoder: list[tuple[Stack, int]] = [("encoder", layer) for layer in range(sizes.num_encoder_layers)]
    return encoder + [("decoder", layer) for layer in range(sizes.num_decoder_layers)]
