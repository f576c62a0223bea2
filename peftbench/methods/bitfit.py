"""BitFit: a learned bias on every linear layer, and on every norm that has one.

    h = W x + b_0 + b          x: (..., k)   h: (..., n)   b: (n), starts at zero

Paper: 2106.10199, section 3.
Differs: the paper trains the biases that a model has; T5 has none, so T-Few adds them, and so does this file: b is a
    vector of its own beside the model's bias b_0, the same function. T-Few's pattern names `w_o` where T5's layer is
    called `wo`, so that the feed-forward block's output gets no bias there (its published 1.3M parameters show it), and
    it trains all layer norms besides; here every layer of the roles has its bias, and `layer_norms` is off.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import peft_form, places, sites
from peftbench.methods.parts.peft_adapter import PeftAdapter
from peftbench.methods.parts.peft_form import PREFIX, Exported, Imported, PeftForm
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Role, Site, Sizes

PAPER = "2106.10199, section 3"
IDENTITY_AT_INIT = True
# softmax(q (k + b)^T) = softmax(q k^T): b adds the same to all of a query's scores. Rotary positions turn it.
# Where some layers of a model have them and some do not (SmolLM3), no name tells which.
DEAD: dict[str, str] = {
    r"Attention\.k\.bitfit_k|c_attn\.bitfit_k|self_attention\.query_key_value\.bitfit_k": places.SHIFTS_ALL,
    places.KEY_BIAS + "bitfit_k": places.SHIFTS_ALL,
}
# The biases start at zero: scaled by their own size, as scale_parameter does, their steps would be a thousandth of lr.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}


class Config(MethodConfig):
    """Settings of BitFit.

    Args:
        roles: Which layers: "all", which takes the norms' biases too where there are any, or roles, in TOML as a list
            and on the command line as "q,ff_up" (the paper's smaller variant).
        layer_norms: Train the norms' own parameters beside the biases, as T-Few.
    """

    roles: places.Roles = Field("all", min_length=1)
    layer_norms: bool = False


class Bias(nn.Module):
    """Shift activations: y + b.

    Args:
        features: Length of b.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(features))

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Compute y + b, (..., features).

        Args:
            y: (..., features) activations at the site.
            x: The layer's input; not used.
        """
        return y + self.b


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Insert a bias at the output of each layer of the roles.

    Raises:
        MethodError: A role matches no layer of this backbone.
    """
    roles = _roles(backbone.sizes, config)
    targets = [site for role in roles for site in sites.required(backbone, role, "BitFit")]
    freed = sites.norms(backbone, "BitFit") if config.layer_norms else []
    for site in targets:
        backbone.insert(site, _name(site.role), Bias(site.features))
    return [f"{site.module}.{_name(site.role)}.b" for site in targets] + freed


def added(sizes: Sizes, config: Config) -> Added:
    """Count one parameter per output feature of each layer; no matmuls."""
    roles = _roles(sizes, config)
    layers = [linear for role in roles for linear in places.linears(sizes, role)]
    count = sum(linear.n for linear in layers)
    count += places.num_norm_parameters(sizes) // 2 if "norm" in roles else 0
    count += places.num_norm_parameters(sizes) if config.layer_norms else 0
    norms = places.norm_places(sizes) if "norm" in roles or config.layer_norms else ()
    return Added(num_parameters=count, places=(*(linear.place for linear in layers), *norms))


@torch.no_grad()
def merge(backbone: Backbone) -> None:
    """Fold b into the layer's bias; a layer that has none is given one."""
    biases = [(site, bias.b) for site, bias in _attached(backbone)]
    backbone.take_out()
    for site, _ in biases:
        backbone.add_bias(site.module)
    sites.keep(backbone, [site for site, _ in biases])
    for site, b in biases:
        own = sites.bias(backbone, site)
        assert own is not None
        own[site.index] += b


def _roles(sizes: Sizes, config: Config) -> tuple[Role, ...]:
    if config.roles != "all":
        return config.roles
    linear = places.linear_roles(sizes)
    # Where layer_norms is on it trains the norms' own biases: a second vector beside them would be the same one again.
    return (*linear, "norm") if sizes.norm_biases and not config.layer_norms else linear


def _name(role: Role) -> str:
    return f"bitfit_{role}"


def _attached(backbone: Backbone) -> list[tuple[Site, Bias]]:
    return [(site, module) for (site, _), module in backbone.inserted.items() if isinstance(module, Bias)]


def _to_peft(backbone: Backbone, names: Sequence[str]) -> Exported | None:
    """Write a bias for each linear layer, zeros where a fused one is left alone; peft takes no Conv1D and no norm."""
    layers = peft_form.by_module(backbone)
    plain = all(type(backbone.model.get_submodule(name)) is nn.Linear for name in layers)
    if peft_form.outside(backbone, names) or not plain:
        return None
    tensors = {}
    for name, inserted in layers.items():
        bias = torch.zeros(1, peft_form.num_outputs(backbone, name))
        for site, module in inserted:
            bias[0, site.index] = module.b
        tensors[f"{PREFIX}{name}.beft_bias"] = bias
    return Exported({"peft_type": "BEFT", "target_modules": list(layers)}, tensors)


def _from_peft(adapter: PeftAdapter) -> Imported:
    """Read biases of whole roles."""
    tensors: dict[str, Tensor] = {}
    covered: list[Site] = []
    for module, targets, (bias,) in adapter.layers("beft_bias"):
        adapter.check_shape(module, bias.shape, [1, adapter.num_outputs(module)])
        tensors |= {f"{module}.{_name(site.role)}.b": bias[0, site.index].clone() for site in targets}
        covered += targets
    roles = adapter.own.get("roles", list(adapter.roles(covered)))
    return Imported({"roles": roles}, tensors)


PEFT = PeftForm(_to_peft, ("BEFT",), _from_peft)
