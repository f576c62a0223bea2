"""Soft prompts before the tokens of a row."""

from torch import Tensor, cat

from peftbench.models.backbone import Backbone


def virtual_tokens(backbone: Backbone, num_rows: int) -> Tensor:
    """Compute the soft prompt of each row, (num_rows, num_virtual, d_model): the same for all rows, or by turns."""
    assert backbone.soft_prompt is not None
    virtual: Tensor = backbone.soft_prompt()
    if virtual.dim() == 3:  # (prompts, num_virtual, d_model); else (num_virtual, d_model)
        virtual = virtual.repeat(num_rows // len(virtual), 1, 1)
    return virtual.expand(num_rows, -1, -1)


def with_soft_prompt(backbone: Backbone, embeds: Tensor, num_virtual: int) -> Tensor:
    """Put the soft prompt before embeddings (rows, tokens, d_model)."""
    if not num_virtual:
        return embeds
    return cat((virtual_tokens(backbone, len(embeds)).to(embeds.dtype), embeds), 1)


def absent_virtual(backbone: Backbone) -> Tensor | None:
    """Return how many of its first virtual tokens each row lacks, (rows,) int; None where no row lacks any."""
    absent: Tensor | None = getattr(backbone.soft_prompt, "absent", None)
    return absent
