"""Adapters of hypercomplex (PHM) layers, which compacter and compacter_pp place.

    y + PHM_up(f(PHM_down(y)))          PHM(x) = (sum_i A_i (x) s_i t_i) x + b          i = 1 .. phm_dim

(x) is the Kronecker product: A_i (phm_dim, phm_dim) is shared by all layers, s_i (n / phm_dim, rank) and
t_i (rank, k / phm_dim) belong to one layer. The sum over i is written as one tensor operation, whose first axis is i.

Shapes:
    k, n    features into and out of a layer: d_model and the bottleneck, or the other way round
    dim     phm_dim
"""

import math
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig, Op
from peftbench.methods.parts import places, sites
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

NAME = "compacter"
RULE_STD = 0.02


class Config(MethodConfig):
    """Settings of Compacter and Compacter++.

    Args:
        phm_dim: Number of Kronecker products in the sum, n in the paper; it divides d_model.
        phm_rank: Rank r of s_i t_i.
        reduction_factor: The bottleneck has d_model / reduction_factor features, in multiples of phm_dim.
        shared_phm_rule: One A for all layers, as the paper; else a pair for each adapter, as T-Few.
        layer_norms: Train the norms' own parameters beside the adapters, as the paper.
    """

    phm_dim: int = Field(4, ge=1)
    phm_rank: int = Field(1, ge=1)
    reduction_factor: int = Field(32, ge=1)
    shared_phm_rule: bool = True
    layer_norms: bool = False


class Hypercomplex(nn.Module):
    """A linear layer of Kronecker products.

    Args:
        rule: A, (phm_dim, phm_dim, phm_dim).
        k: Features that go in; a multiple of phm_dim.
        n: Features that come out; a multiple of phm_dim.
        rank: Rank of s_i t_i.
    """

    def __init__(self, rule: nn.Parameter, k: int, n: int, rank: int) -> None:
        super().__init__()
        dim = len(rule)
        self.A = rule
        self.s = nn.Parameter(_glorot(dim, n // dim, rank))
        self.t = nn.Parameter(_glorot(dim, rank, k // dim))
        self.b = nn.Parameter(torch.zeros(n))

    def weight(self) -> Tensor:
        """Compute sum_i A_i (x) s_i t_i, (n, k)."""
        # s t, elementwise, since it is one per layer and not one per token: (dim, n / dim, k / dim)
        inner = (self.s[:, :, :, None] * self.t[:, None]).sum(2)
        rule = self.A.to(inner.device)  # layers on several devices may share it
        product = rule[:, :, None, :, None] * inner[:, None, :, None, :]  # (dim, dim, n / dim, dim, k / dim)
        return product.sum(0).flatten(2, 3).flatten(0, 1)  # (dim, n / dim, k) -> (n, k)

    def forward(self, x: Tensor) -> Tensor:
        """Compute W x + b: (..., k) -> (..., n)."""
        return functional.linear(x, self.weight(), self.b)


class Adapter(nn.Module):
    """The adapter behind one block.

    Args:
        down: (d_model) -> (bottleneck).
        up: (bottleneck) -> (d_model).
    """

    def __init__(self, down: Hypercomplex, up: Hypercomplex) -> None:
        super().__init__()
        self.down, self.up = down, up

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Compute y + up(gelu(down(y))), (..., d_model).

        Args:
            y: (..., d_model) the block's output.
            x: The input of the block's last layer; not used.
        """
        return y + self.up(functional.gelu(self.down(y.to(self.down.s.dtype))))


@dataclass(frozen=True)
class Placement:
    """Where the adapters stand, which is what tells Compacter from Compacter++; its functions are the methods' own.

    Args:
        title: What the method is called in errors.
        attention: Whether self-attention blocks get an adapter beside the feed-forward blocks.
    """

    title: str
    attention: bool

    def attach(self, backbone: Backbone, config: Config) -> list[str]:
        """Insert an adapter behind each block of the placement.

        Raises:
            MethodError: The backbone lacks such blocks, phm_dim does not divide d_model, or phm_rank is above what
                s_i t_i can have.
        """
        d_model, bottleneck = backbone.sizes.d_model, _bottleneck(backbone.sizes, config)
        targets = sites.block_ends(backbone, self.attention, self.title)
        freed = sites.norms(backbone, self.title) if config.layer_norms else []
        rule = _rule(config.phm_dim)
        names = set()
        for site in targets:
            rules = (rule, rule) if config.shared_phm_rule else (_rule(config.phm_dim), _rule(config.phm_dim))
            down = Hypercomplex(rules[0], d_model, bottleneck, config.phm_rank)
            up = Hypercomplex(rules[1], bottleneck, d_model, config.phm_rank)
            backbone.insert(site, NAME, Adapter(down, up))
            names |= {f"{site.module}.{NAME}.{layer}.{part}" for layer in ("down", "up") for part in "Astb"}
        inserted = [name for name, _ in backbone.model.named_parameters() if name in names]  # a shared A has one name
        return inserted + freed

    def added(self, sizes: Sizes, config: Config) -> Added:
        """Count rank (d_model + b) + n parameters for each layer of k -> n features, b the bottleneck, and the rules.

        Each adapter adds two matmuls, with the weights that the Kronecker products make.
        """
        bottleneck = _bottleneck(sizes, config)
        ops: list[Op] = []
        for place in places.block_end_places(sizes, self.attention):
            ops.append(Op(place, sizes.d_model, bottleneck, mergeable=False))
            ops.append(Op(place, bottleneck, sizes.d_model, mergeable=False, reads="trained"))
        rules = config.phm_dim**3 * (1 if config.shared_phm_rule else len(ops))
        count = rules + sum(config.phm_rank * (op.k + op.n) + op.n for op in ops)
        count += places.num_norm_parameters(sizes) if config.layer_norms else 0
        norms = places.norm_places(sizes) if config.layer_norms else ()
        return Added(num_parameters=count, ops=tuple(ops), places=norms)


def _bottleneck(sizes: Sizes, config: Config) -> int:
    if sizes.d_model % config.phm_dim:
        raise MethodError(
            f"phm_dim = {config.phm_dim} does not divide the model's {sizes.d_model} features",
            hint=f"a divisor of {sizes.d_model}, such as {math.gcd(sizes.d_model, 4)}",
        )
    most = max(1, sizes.d_model // config.reduction_factor // config.phm_dim)
    if config.phm_rank > most:
        raise MethodError(
            f"phm_rank = {config.phm_rank:,} is more than s_i t_i can have: the bottleneck of "
            f"{config.phm_dim * most:,} features is cut into phm_dim = {config.phm_dim} parts",
            hint=f"at most {most:,}; a smaller reduction_factor widens the bottleneck",
        )
    return config.phm_dim * most


def _rule(phm_dim: int) -> nn.Parameter:
    return nn.Parameter(RULE_STD * torch.randn(phm_dim, phm_dim, phm_dim))


def _glorot(*shape: int) -> Tensor:
    """Start uniform with variance 4 / (fan in + fan out), Glorot's with a gain of sqrt(2), for each i alone."""
    bound = math.sqrt(2) * math.sqrt(6 / (shape[-2] + shape[-1]))
    return torch.empty(shape).uniform_(-bound, bound)
