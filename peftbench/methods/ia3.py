"""(IA)^3: three learned vectors per layer rescale keys, values and the feed-forward block's hidden units.

    softmax(q (l_k * k)^T / sqrt(d_k)) (l_v * v)          (l_ff * gamma(W_1 x)) W_2

In encoder-decoders l_k and l_v act in self- and in cross-attention. With a gated feed-forward block the hidden units
are gate(x) * up(x), and l_ff acts on their product.

Paper: 2205.05638, section 3.3.
Differs: the authors' code scales the output of T5 v1.1's wi_1, this one the input of wo: the same function, since the
    gate is elementwise. On T5 v1.0, whose layer is called wi, the authors' code finds no feed-forward layer and
    silently leaves l_ff out; here it is there, as in the paper.
"""

from typing import Any

import torch
from torch import Tensor, nn

from peftbench.methods import places
from peftbench.methods.base import Added, MethodConfig
from peftbench.models.backbone import Backbone, Role, Sizes

PAPER = "2205.05638, section 3.3"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": True, "num_steps": 1000}

VECTORS: dict[Role, str] = {"k": "l_k", "v": "l_v", "ff_hidden": "l_ff"}


class Config(MethodConfig):
    """(IA)^3 has no settings: where it acts is its definition."""


class Scale(nn.Module):
    """Rescale activations elementwise: l * y.

    Args:
        features: Length of l; it starts at ones.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Give l * y.

        Args:
            y: (..., features) activations at the site.
            x: The layer's input; not used.
        """
        return self.weight * y


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Insert l_k, l_v and l_ff in every layer.

    Raises:
        MethodError: The backbone has no keys, no values or no feed-forward block.
    """
    sites = [site for role in VECTORS for site in places.required(backbone, role, "(IA)^3")]
    for site in sites:
        backbone.insert(site, VECTORS[site.role], Scale(site.features))
    return [f"{site.module}.{VECTORS[site.role]}.weight" for site in sites]


def added(sizes: Sizes, config: Config) -> Added:
    """Give 2 d_attn + d_ff parameters per layer, 4 d_attn + d_ff where it has cross-attention too; no matmuls."""
    vectors = [linear.n for role in ("k", "v") for linear in places.linears(sizes, role)]
    vectors += [linear.k for linear in places.linears(sizes, "ff_out")]
    return Added(num_parameters=sum(vectors), first_layer=places.bottom(sizes))


@torch.no_grad()
def merge(backbone: Backbone) -> None:
    """Fold the vectors into the weights: rows of W_k and W_v (with their biases), columns of W_2."""
    sites = [site for role in VECTORS for site in backbone.sites(role)]
    vectors = [backbone.model.get_parameter(f"{site.module}.{VECTORS[site.role]}.weight") for site in sites]
    backbone.detach_all()
    places.keep(backbone, sites)
    for site, vector in zip(sites, vectors, strict=True):
        if site.side == "input":
            places.weight(backbone, site).mul_(vector)
            continue
        places.weight(backbone, site).mul_(vector[:, None])
        bias = places.bias(backbone, site)
        if bias is not None:
            bias.mul_(vector)
