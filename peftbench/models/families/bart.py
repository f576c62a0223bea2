"""BART: norms behind the blocks, on the residual stream; learned positions in both stacks; biases everywhere.

    y = norm(x + block(x))

The norm after each stack's embeddings is a part of these, as the table of positions is, and no site.

The decoder starts from two tokens, </s> and <s>, as in pre-training: the second one is a target there, and what makes
BART write it first when it generates (forced_bos_token_id); it opens every answer and is not scored.

Paper: 1910.13461, section 2.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from peftbench.errors import ModelError
from peftbench.models.family import logits
from peftbench.models.shapes import Attention, Block, Layer, Site, Sizes, Stack, norm

if TYPE_CHECKING:
    from torch import Tensor

UNDEFINED = {
    "icl --as-prefix": "its encoder reads shots and query together",
    "role ff_gate": "its feed-forward block has no gate",
}
"""What is not defined on this family -> why: `peftbench list models` shows it."""

SAME = (("encoder_ffn_dim", "decoder_ffn_dim"), ("encoder_attention_heads", "decoder_attention_heads"))


def sizes(config: Any) -> Sizes:
    """Read the shapes from a BART config.

    Raises:
        ModelError: The stacks have different widths or heads, heads do not divide, or embeddings are not shared.
    """
    _check(config)
    return Sizes(
        is_encoder_decoder=True,
        num_encoder_layers=config.encoder_layers,
        num_decoder_layers=config.decoder_layers,
        d_model=config.d_model,
        d_kv=config.d_model // config.encoder_attention_heads,
        d_ff=config.encoder_ffn_dim,
        num_heads=config.encoder_attention_heads,
        num_kv_heads=config.encoder_attention_heads,
        gated=False,
        vocab_size=config.vocab_size,
        biased=("q", "k", "v", "o", "ff_up", "ff_out"),
        norm_biases=True,
        norms_behind=True,
        num_start_tokens=len(start(config)),
        # In each stack positions, behind two rows that no token has, and the weight and bias of the embeddings' norm.
        num_other_parameters=2 * (config.max_position_embeddings + 2 + 2) * config.d_model,
    )


def max_positions(config: Any) -> int | None:
    """Return the number of learned positions, which each stack has for itself."""
    return config.max_position_embeddings


def start(config: Any) -> list[int]:
    """List the tokens that the decoder starts from, </s> and, where it is another one, <s>."""
    first, second = config.decoder_start_token_id, config.bos_token_id
    return [first] if second in (None, first) else [first, second]


def head(model: Any, hidden: "Tensor") -> "Tensor":
    """Compute the logits, with a bias for each word of the vocabulary."""
    values = logits(model, hidden)
    return values + model.final_logits_bias.to(values.device)


@contextmanager
def placed(decoder: Any, positions: "Tensor") -> Iterator[None]:
    """Let the decoder's tokens stand at positions (rows, tokens) in place of 0, 1, 2, ..."""
    table = decoder.embed_positions
    flat = {"position_ids": positions.flatten()}  # one row of them is all that the table's module takes
    before = table.register_forward_pre_hook(lambda _module, args, _named: (args[:1], flat), with_kwargs=True)
    after = table.register_forward_hook(lambda _module, _args, output: output.view(*positions.shape, -1))
    try:
        yield
    finally:
        before.remove()
        after.remove()


def sites(sizes: Sizes) -> list[Site]:
    """Name every site: q_proj, k_proj, v_proj, out_proj as o; fc1 is ff_up, fc2 ff_out; a norm behind each block."""
    all_sites = []
    d_model, d_ff = sizes.d_model, sizes.d_ff
    for attention in attentions(sizes):
        block = Block(attention.module, attention.stack, attention.layer, attention.kind)
        all_sites.append(block.output("q", "q_proj", d_model, d_model))
        all_sites.append(block.output("k", "k_proj", d_model, d_model))
        all_sites.append(block.output("v", "v_proj", d_model, d_model))
        all_sites.append(block.output("o", "out_proj", d_model, d_model))
        all_sites.append(norm(f"{attention.module}_layer_norm", attention.stack, attention.layer, d_model))
    for layer in layers(sizes):
        block = Block(layer.module, layer.stack, layer.layer)
        all_sites.append(block.output("ff_up", "fc1", d_model, d_ff))
        all_sites += [block.output("ff_out", "fc2", d_ff, d_model), block.input("ff_hidden", "fc2", d_ff)]
        all_sites.append(norm(f"{layer.module}.final_layer_norm", layer.stack, layer.layer, d_model))
    return all_sites


def attentions(sizes: Sizes) -> list[Attention]:
    """List encoder self-attention, then each decoder layer's self- and cross-attention."""
    blocks = []
    heads = (sizes.num_kv_heads, sizes.d_kv)
    for layer in layers(sizes):
        blocks.append(Attention(f"{layer.module}.self_attn", layer.stack, layer.layer, "self", *heads))
        if layer.stack == "decoder":
            blocks.append(Attention(f"{layer.module}.encoder_attn", layer.stack, layer.layer, "cross", *heads))
    return blocks


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    stacks: list[tuple[Stack, int]] = [("encoder", sizes.num_encoder_layers), ("decoder", sizes.num_decoder_layers)]
    return [Layer(f"model.{stack}.layers.{layer}", stack, layer) for stack, number in stacks for layer in range(number)]


def _check(config: Any) -> None:
    for encoder, decoder in SAME:
        if getattr(config, encoder) != getattr(config, decoder):
            raise ModelError(
                f"a BART with {encoder} = {getattr(config, encoder)} and {decoder} = {getattr(config, decoder)}",
                hint="stacks of different depth are known here, of different width or heads not",
            )
    if config.d_model % config.encoder_attention_heads:
        raise ModelError(f"{config.encoder_attention_heads} heads do not divide {config.d_model} features")
    if not config.tie_word_embeddings:
        raise ModelError(
            "a BART whose embeddings are not tied (tie_word_embeddings = false)",
            hint="encoder, decoder and LM head share one matrix here, as in the published models",
        )
