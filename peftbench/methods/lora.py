"""LoRA: a learned low-rank update beside each linear layer.

    h = W x + (alpha / rank) B A x          A: (rank, k)   B: (n, rank)

Paper: 2106.09685, section 4.1, equation 3.
Differs: the paper adapts W_q and W_v only; the default here is every linear layer of the blocks, as T-Few's baseline,
    whose scale is 1 / rank (alpha = 1) and which trains all layer norms besides (`layer_norms`). A starts uniform in
    +-1/sqrt(k), as in the authors' code; the paper says Gaussian, T-Few takes N(0, 0.01^2).
"""

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from peftbench.methods.base import Added, MethodConfig, Op
from peftbench.methods.parts import places, sites
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Role, Site, Sizes

PAPER = "2106.09685, section 4.1, equation 3"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
# B starts at zero: scaled by its own size, as scale_parameter does, its steps would be a thousandth of lr.
DEFAULTS: dict[str, Any] = {"lr": 1e-3, "scale_parameter": False, "num_steps": 1000}


class Config(MethodConfig):
    """Settings of LoRA.

    Args:
        rank: Inner size r.
        alpha: The update is scaled by alpha / rank.
        roles: Which layers: "all", or roles, in TOML as a list and on the command line as "q,v".
        layer_norms: Train the norms' own parameters beside A and B, as T-Few.
    """

    rank: int = Field(4, ge=1)
    alpha: float = Field(4.0, gt=0)
    roles: places.Roles = Field("all", min_length=1)
    layer_norms: bool = False


class LowRank(nn.Module):
    """The update B A of one layer.

    Args:
        in_features: k.
        features: n.
        rank: r.
        scale: alpha / rank.
    """

    def __init__(self, in_features: int, features: int, rank: int, scale: float) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)
        self.A = nn.Parameter(torch.empty(rank, in_features).uniform_(-bound, bound))
        self.B = nn.Parameter(torch.zeros(features, rank))
        self.scale = scale

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Give y + (alpha / rank) B A x.

        Args:
            y: (..., features) the layer's output W x.
            x: (..., in_features) the layer's input.
        """
        inner = functional.linear(x.to(self.A.dtype), self.A)
        return y + self.scale * functional.linear(inner, self.B)

    def update(self) -> Tensor:
        """Give the update of the weight, (features, in_features)."""
        return self.scale * self.B @ self.A

    def factors(self) -> tuple[Tensor, Tensor]:
        """Give (features, rank) and (rank, in_features), whose product is the update."""
        return self.scale * self.B, self.A


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Insert A and B beside each layer of the roles.

    Raises:
        MethodError: A role matches no layer of this backbone, or the rank is more than one has.
    """
    places.check_rank(backbone.sizes, _roles(backbone.sizes, config), "rank", config.rank)
    targets = [site for role in _roles(backbone.sizes, config) for site in sites.required(backbone, role, "LoRA")]
    freed = sites.norms(backbone, "LoRA") if config.layer_norms else []
    for site in targets:
        module = LowRank(site.in_features, site.features, config.rank, config.alpha / config.rank)
        backbone.insert(site, _name(site.role), module)
    return [f"{site.module}.{_name(site.role)}.{matrix}" for site in targets for matrix in ("A", "B")] + freed


def added(sizes: Sizes, config: Config) -> Added:
    """Give rank (k + n) parameters and two matmuls per layer."""
    places.check_rank(sizes, _roles(sizes, config), "rank", config.rank)
    layers = [linear for role in _roles(sizes, config) for linear in places.linears(sizes, role)]
    ops = []
    for linear in layers:
        ops.append(Op(linear.place, linear.k, config.rank, mergeable=True, reads="input"))
        ops.append(Op(linear.place, config.rank, linear.n, mergeable=True, reads="trained"))
    count = sum(op.k * op.n for op in ops) + (places.num_norm_parameters(sizes) if config.layer_norms else 0)
    norms = places.norm_places(sizes) if config.layer_norms else ()
    return Added(num_parameters=count, ops=tuple(ops), places=norms)


@torch.no_grad()
def merge(backbone: Backbone) -> None:
    """Fold the update into each layer's weight: W + (alpha / rank) B A."""
    updates = [(site, low_rank.update()) for site, low_rank in _attached(backbone)]
    backbone.take_out()
    sites.keep(backbone, [site for site, _ in updates])
    for site, update in updates:
        sites.weight(backbone, site)[site.index] += update


def _roles(sizes: Sizes, config: Config) -> tuple[places.LinearRole, ...]:
    if config.roles != "all":
        return config.roles
    return places.linear_roles(sizes)


def _name(role: Role) -> str:
    return f"lora_{role}"


def _attached(backbone: Backbone) -> list[tuple[Site, LowRank]]:
    targets = (site for role in places.LINEAR for site in backbone.sites(role))
    layers = ((site, backbone.model.get_submodule(site.module)) for site in targets)
    return [(site, getattr(layer, _name(site.role))) for site, layer in layers if hasattr(layer, _name(site.role))]
