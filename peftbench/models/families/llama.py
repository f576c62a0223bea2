"""The Llama shape: Llama, Mistral, Qwen2, Qwen3, SmolLM3; gated, rotary, often fewer key-value heads than heads.

Gemma, Gemma 2 and Gemma 3 have it too. Their norms multiply by 1 + w where w is the parameter, their embeddings are
scaled by sqrt(d_model) as they are looked up, and from Gemma 2 on a norm stands behind each block as well as before it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from peftbench.errors import ModelError
from peftbench.models.family import logits
from peftbench.models.shapes import Attention, Block, Elementwise, Layer, Role, Site, Sizes, norm

if TYPE_CHECKING:
    from torch import Tensor

UNDEFINED = {
    "icl --as-prefix": "not where attention has a window: Mistral, Gemma 2 and 3",
    "export --to merged of bitfit": "its layers have no biases, or only some",
}
"""What is not defined on this family -> why: `peftbench list models` shows it."""


def sizes(config: Any) -> Sizes:
    """Read the shapes from a Llama-like config; head_dim may differ from hidden_size / num_attention_heads.

    Raises:
        ModelError: Its tokens see those that come after them, so that no answer follows from what is before it.
    """
    if vars(config).get("use_bidirectional_attention"):  # whatever the model_type: only few know the field
        reason = "this model's tokens see what comes after them (use_bidirectional_attention): it cannot score answers"
        raise ModelError(reason, hint="a model that was trained to go on with a text")
    return Sizes(
        is_encoder_decoder=False,
        num_encoder_layers=0,
        num_decoder_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        d_kv=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        d_ff=config.intermediate_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads or config.num_attention_heads,
        gated=True,
        vocab_size=config.vocab_size,
        biased=_biased(config),
        head_norms=config.model_type in ("qwen3", "gemma3_text"),
        post_norms=config.model_type in ("gemma2", "gemma3_text"),
    )


def max_positions(config: Any) -> int | None:
    """Return the number of positions that the model was made for; rotary positions go on, its accuracy does not.

    Where a text that is longer than the original positions turns by other angles from its first token on (longrope), it
    shares no keys with a shorter one: the original number is the limit.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        return min(rope["original_max_position_embeddings"], config.max_position_embeddings)
    return config.max_position_embeddings


def window(config: Any) -> int | None:
    """Return the window of the layers that have one (Mistral, Qwen2, Gemma 2 and 3)."""
    return getattr(config, "sliding_window", None)


def head(model: Any, hidden: "Tensor") -> "Tensor":
    """Compute the logits, in Gemma 2 kept within +-c: c tanh(logits / c)."""
    cap: float | None = getattr(model.config, "final_logit_softcapping", None)
    values = logits(model, hidden)
    return values if cap is None else cap * (values / cap).tanh()


def elementwise(table: Mapping[str, Any]) -> Elementwise:
    """Read the activation function, whether scores of attention are kept within bounds (Gemma 2), and the windows."""
    default = "gelu_pytorch_tanh" if table["model_type"].startswith("gemma") else "silu"
    activation = table.get("hidden_activation") or table.get("hidden_act") or default
    windowed = (table.get("layer_types") or []).count("sliding_attention")
    if table["model_type"] == "mistral" and table.get("sliding_window"):
        windowed = table["num_hidden_layers"]
    is_capped = bool(table.get("attn_logit_softcapping"))
    return Elementwise(activation, norm="float32", is_capped=is_capped, num_windowed=windowed)


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: q_proj, k_proj, v_proj, o_proj; gate_proj is ff_gate, up_proj ff_up, down_proj ff_out."""
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    d_query, d_key = sizes.num_heads * sizes.d_kv, sizes.num_kv_heads * sizes.d_kv
    for attention in attentions(sizes):
        block = Block(attention.module, "decoder", attention.layer, "self")
        all_sites.append(block.output("q", "q_proj", d_model, d_query))
        all_sites.append(block.output("k", "k_proj", d_model, d_key))
        all_sites.append(block.output("v", "v_proj", d_model, d_key))
        all_sites.append(block.output("o", "o_proj", d_query, d_model))
        block = Block(f"model.layers.{attention.layer}.mlp", "decoder", attention.layer)
        all_sites.append(block.output("ff_gate", "gate_proj", d_model, d_ff))
        all_sites.append(block.output("ff_up", "up_proj", d_model, d_ff))
        all_sites += [block.output("ff_out", "down_proj", d_ff, d_model), block.input("ff_hidden", "down_proj", d_ff)]
        all_sites += _norms(sizes, attention.layer)
    return [*all_sites, norm("model.norm", "decoder", sizes.num_decoder_layers - 1, d_model)]


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    return [
        Attention(f"model.layers.{layer}.self_attn", "decoder", layer, "self", sizes.num_kv_heads, sizes.d_kv)
        for layer in range(sizes.num_decoder_layers)
    ]


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return [Layer(f"model.layers.{layer}", "decoder", layer) for layer in range(sizes.num_decoder_layers)]


def _norms(sizes: Sizes, layer: int) -> list[Site]:
    names = ["input_layernorm", "post_attention_layernorm"]
    if sizes.post_norms:
        names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    widths = dict.fromkeys(names, sizes.d_model)
    if sizes.head_norms:
        widths |= {"self_attn.q_norm": sizes.d_kv, "self_attn.k_norm": sizes.d_kv}
    return [norm(f"model.layers.{layer}.{name}", "decoder", layer, width) for name, width in widths.items()]


def _biased(config: Any) -> tuple[Role, ...]:
    """List the roles with biases: Qwen2's are in its code, the others' in their configs."""
    attention: tuple[Role, ...] = ("q", "k", "v") if config.model_type == "qwen2" else ()
    if getattr(config, "attention_bias", False):
        attention = ("q", "k", "v", "o")
    return (*attention, *(("ff_gate", "ff_up", "ff_out") if getattr(config, "mlp_bias", False) else ()))
