"""RoBERTa: BERT's layers; positions begin behind the row of the table that belongs to padding.

Paper: 1907.11692, section 3.
"""

from typing import TYPE_CHECKING, Any

from peftbench.models.families import bert
from peftbench.models.shapes import Attention, Layer, Site, Sizes

if TYPE_CHECKING:
    from torch import Tensor

UNDEFINED = {
    "icl --as-prefix": "its tokens see those behind them, so that shots read a query together with it",
    "role ff_gate": "its feed-forward block has no gate",
}
"""What is not defined on this family -> why: `peftbench list models` shows it."""

HEADS = ("lm_head",)
UNREAD = ("roberta.pooler.", "pooler.")


def sizes(config: Any) -> Sizes:
    """Read the shapes from a RoBERTa config.

    Raises:
        ModelError: It is a decoder, or heads do not divide.
    """
    return bert.encoder(config, num_positions=config.max_position_embeddings)


def max_positions(config: Any) -> int | None:
    """Return the number of learned positions that tokens can have: 512 of the published models' 514."""
    return config.max_position_embeddings - first_position(config)


def first_position(config: Any) -> int:
    """Return the position of the first token: the one behind padding's."""
    return config.pad_token_id + 1


def head(model: Any, hidden: "Tensor") -> "Tensor":
    """Compute the logits: a dense layer, a norm, and the embeddings with a bias for each word."""
    return model.lm_head(hidden).float()


def sites(sizes: Sizes) -> list[Site]:
    """Name every site, as BERT's."""
    return bert.encoder_sites(sizes, "roberta")


def attentions(sizes: Sizes) -> list[Attention]:
    """List the self-attention of each layer."""
    return bert.encoder_attentions(sizes, "roberta")


def layers(sizes: Sizes) -> list[Layer]:
    """List the layers."""
    return bert.encoder_layers(sizes, "roberta")
