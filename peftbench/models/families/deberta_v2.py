"""DeBERTa v2 and v3: BERT's layers, with attention that counts how far apart tokens stand, and in which order.

A table of distances passes the layers of queries and keys of each layer anew with each forward pass, and is compared
with the tokens' keys and queries (`models.disentangled`). What a method puts there acts on both.

Refused are those with a convolution behind the lowest layer (v2's xlarge and xxlarge), and other variants of attention.

Paper: 2006.03654, section 3; 2111.09543 (v3).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from peftbench.errors import ModelError
from peftbench.models.families import bert
from peftbench.models.shapes import Attention, Layer, Site, Sizes

if TYPE_CHECKING:
    from torch import Tensor

UNDEFINED = {
    "icl --as-prefix": "its tokens see those behind them, so that shots read a query together with it",
    "role ff_gate": "its feed-forward block has no gate",
}
"""What is not defined on this family -> why: `peftbench list models` shows it."""

HEADS = ("cls",)
UNREAD = (
    "deberta.pooler.",
    "pooler.",
    "lm_predictions.",
    "mask_predictions.",
    "deberta.embeddings.position_embeddings.",
)
"""What checkpoints hold for other objectives: v3's came out without the head that its generator filled masks with."""

KNOWN = {
    "relative_attention": True,
    "share_att_key": True,
    "position_biased_input": False,
    "norm_rel_ebd": "layer_norm",
    "conv_kernel_size": 0,
    "legacy": True,
}
"""Field of a config -> its value in the published models that are known here; see `DEFAULTS` for those left out."""
DEFAULTS = {"share_att_key": False, "norm_rel_ebd": "none", "conv_kernel_size": 0, "legacy": True}


def sizes(config: Any) -> Sizes:
    """Read the shapes from a DeBERTa config.

    Raises:
        ModelError: A variant that is not known here.
    """
    _check(config)
    shape = bert.encoder(config, num_positions=0)
    num_relative = 2 * config.position_buckets
    tables = (num_relative + 2) * config.hidden_size  # the table of distances, and its norm
    return replace(shape, num_relative=num_relative, num_other_parameters=shape.num_other_parameters + tables)


def max_positions(config: Any) -> int | None:
    """Return the number of tokens that the model was made for."""
    return config.max_position_embeddings


def mask(config: Any, seen: "Tensor", dtype: Any) -> Any:
    """Return what are tokens: its layers make their mask of that."""
    return seen


def head(model: Any, hidden: "Tensor") -> "Tensor":
    """Compute the logits: a dense layer, a norm, and the embeddings with a bias for each word."""
    return model.cls(hidden).float()


def sites(sizes: Sizes) -> list[Site]:
    """Name every site, as BERT's; queries, keys and values are query_proj, key_proj and value_proj."""
    return bert.encoder_sites(sizes, "deberta", ("query_proj", "key_proj", "value_proj"))


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    return bert.encoder_attentions(sizes, "deberta")


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return bert.encoder_layers(sizes, "deberta")


def rewire(model: Any) -> None:
    """Let this model compute with this package's attention, with what distances add to its scores."""
    from peftbench.models import disentangled

    disentangled.rewire(model)


def _check(config: Any) -> None:
    written = {name: getattr(config, name, DEFAULTS.get(name)) for name in KNOWN}
    refused = [f"{name} = {value}" for name, value in written.items() if value != KNOWN[name]]
    kinds = config.pos_att_type
    if {*(kinds.split("|") if isinstance(kinds, str) else kinds or ())} != {"c2p", "p2c"}:
        refused.append(f"pos_att_type = {kinds}")
    if config.position_buckets < 1:
        refused.append(f"position_buckets = {config.position_buckets}")
    if refused:
        raise ModelError(
            f"a DeBERTa with {' and '.join(refused)}",
            hint="known here are DeBERTas like deberta-v3-small, -base and -large",
        )
