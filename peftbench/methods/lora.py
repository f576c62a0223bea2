"""LoRA: a learned low-rank update beside each linear layer.

    h = W x + (alpha / rank) B A x          x: (..., k)   h: (..., n)   A: (rank, k)   B: (n, rank)

Paper: 2106.09685, section 4.1, equation 3.
Differs: the paper adapts W_q and W_v only; the default here is every linear layer of the blocks, as T-Few's baseline,
    whose scale is 1 / rank (alpha = 1) and which trains all layer norms besides (`layer_norms`). A starts uniform in
    +-1/sqrt(k), as in the authors' code; the paper says Gaussian, T-Few takes N(0, 0.01^2).
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from peftbench.methods.base import Added, MethodConfig, Op
from peftbench.methods.parts import peft_form, places, sites
from peftbench.methods.parts.peft_adapter import PeftAdapter
from peftbench.methods.parts.peft_form import Exported, Imported, PeftForm
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
        """Compute y + (alpha / rank) B A x, (..., features).

        Args:
            y: (..., features) the layer's output W x.
            x: (..., in_features) the layer's input.
        """
        inner = functional.linear(x.to(self.A.dtype), self.A)  # (..., rank)
        return y + self.scale * functional.linear(inner, self.B)

    def update(self) -> Tensor:
        """Compute the update of the weight, (features, in_features)."""
        return self.scale * self.B @ self.A


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
    """Count rank (k + n) parameters and two matmuls per layer."""
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
    return [(site, module) for (site, _), module in backbone.inserted.items() if isinstance(module, LowRank)]


def _to_peft(backbone: Backbone, names: Sequence[str]) -> Exported | None:
    if peft_form.outside(backbone, names):  # norms
        return None
    return peft_form.low_rank(backbone, lambda module: (module.B, module.A, module.scale))


def _from_peft(adapter: PeftAdapter) -> Imported:
    """Read updates of one rank and one scale; those that this package put side by side come apart again."""
    own = adapter.own
    tensors: dict[str, Tensor] = {}
    covered: list[Site] = []
    ranks: dict[str, int] = {}
    scales: dict[str, float] = {}
    for module, outputs, (a, b) in adapter.layers("lora_A.weight", "lora_B.weight"):
        targets = [site for site in outputs if own.get("roles", "all") == "all" or site.role in own["roles"]]
        adapter.check_shape(module, [a.shape[1], b.shape[0]], [targets[0].in_features, adapter.num_outputs(module)])
        scales[module] = _peft_scale(adapter, module, len(a))
        rank = own.get("rank", len(a))
        is_apart = len(targets) > 1 and len(a) == rank * len(targets)
        for index, site in enumerate(targets):
            part = slice(index * rank, (index + 1) * rank) if is_apart else slice(None)
            tensors[f"{module}.{_name(site.role)}.A"] = a[part].clone()
            tensors[f"{module}.{_name(site.role)}.B"] = b[site.index, part].clone()
        ranks[module] = rank if is_apart else len(a)
        covered += targets
    rank = _shared(adapter, ranks, "rank")
    alpha = float(f"{_shared(adapter, scales, 'scale') * rank:.12g}")
    roles = adapter.roles(covered)
    everywhere = {site.role for site in adapter.base.sites if site.side == "output"} & {*places.LINEAR}
    config = {"rank": rank, "alpha": alpha, "roles": "all" if {*roles} == everywhere else list(roles)}
    return Imported(config, tensors)


NAME = re.compile(r"\^?(?:[\w.-]|\\\.)+\$?")
"""A layer's name as patterns of the peft library have it."""


def _peft_scale(adapter: PeftAdapter, module: str, rank: int) -> float:
    """Compute alpha / rank, or alpha / sqrt(rank) with rsLoRA; a module may have an alpha of its own."""
    patterns = adapter.fields.get("alpha_pattern") or {}
    own = [alpha for pattern, alpha in patterns.items() if _matches(adapter, pattern, module)]
    alpha = own[0] if own else adapter.fields.get("lora_alpha", 8)
    return float(alpha) / (math.sqrt(rank) if adapter.fields.get("use_rslora") else rank)


def _matches(adapter: PeftAdapter, pattern: str, module: str) -> bool:
    """Tell whether one of peft's patterns names a module, in full or by its end.

    Differs: peft takes any regular expression, and a stranger's may run for ever; here it is a name, with its dots
    escaped or not, from the front (^) or from any of its parts on.
    """
    if NAME.fullmatch(pattern) is None:
        raise adapter.refused(
            f"its alpha_pattern has the regular expression {pattern[:60]!r}",
            "alpha_pattern is read where it has the names of layers, in full or by their ends",
        )
    name = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
    return module == name or (not pattern.startswith("^") and module.endswith(f".{name}"))


def _shared(adapter: PeftAdapter, values: Mapping[str, Any], what: str) -> Any:
    """Return the value that all modules share."""
    (first, expected), *_ = values.items()
    for module, value in values.items():
        if not math.isclose(value, expected, rel_tol=1e-9):
            raise adapter.refused(
                f"'{first}' has {what} {expected:g} and '{module}' {value:g}",
                f"a LoRA has one {what} for all layers here: train without rank_pattern and alpha_pattern",
            )
    return expected


PEFT = PeftForm(_to_peft, ("LORA",), _from_peft)
