"""(IA)^3: three learned vectors per layer rescale keys, values and the feed-forward block's hidden units.

    softmax(q (l_k * k)^T / sqrt(d_k)) (l_v * v)          (l_ff * gamma(W_1 x)) W_2

In encoder-decoders l_k and l_v act in self- and in cross-attention. With a gated feed-forward block the hidden units
are gate(x) * up(x), and l_ff acts on their product.

With `places = "all"`, a variant in the authors' code (lora_scaling): y = l_out * W (l_in * x) for every linear layer of
the blocks. Where one layer computes several of them (GPT-2's q, k and v), they share l_in.

Shapes: each l has the features of the activations that it scales: l_k (d_attn), l_v (d_attn), l_ff (d_ff), l_in (k),
l_out (n); activations are (..., features).

Paper: 2205.05638, section 3.3.
Differs: the authors' code scales the output of T5 v1.1's wi_1, this one the input of wo: the same function, since the
    gate is elementwise. On T5 v1.0, whose layer is called wi, the authors' code finds no feed-forward layer and
    silently leaves l_ff out; here it is there, as in the paper. On models that norm the keys of each head (Qwen 3,
    Gemma 3) l_k acts before that norm, as in peft.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import peft_form, places, sites
from peftbench.methods.parts.peft_adapter import Base, PeftAdapter
from peftbench.methods.parts.peft_form import PREFIX, Exported, Imported, PeftForm
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Role, Site, Sizes

PAPER = "2205.05638, section 3.3"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": True, "num_steps": 1000}

VECTORS: dict[Role, str] = {"k": "l_k", "v": "l_v", "ff_hidden": "l_ff"}


class Config(MethodConfig):
    """Settings of (IA)^3.

    Args:
        places: "paper", or "all": input and output of every linear layer.
    """

    places: Literal["paper", "all"] = "paper"


class Scale(nn.Module):
    """Rescale activations elementwise: l * y.

    Args:
        features: Length of l; it starts at ones.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Compute l * y, (..., features).

        Args:
            y: (..., features) activations at the site.
            x: The layer's input; not used.
        """
        return self.weight * y


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Insert l_k, l_v and l_ff in every layer, or with "all" l_in and l_out at every linear layer.

    Raises:
        MethodError: The backbone has no keys, no values or no feed-forward block.
    """
    roles = tuple(VECTORS) if config.places == "paper" else places.linear_roles(backbone.sizes)
    targets = [site for role in roles for site in sites.required(backbone, role, "(IA)^3")]
    if config.places == "all":
        targets = [*{site.module: site.input() for site in targets}.values(), *targets]
    for site in targets:
        backbone.insert(site, _name(site, config.places), Scale(site.features))
    return [f"{site.module}.{_name(site, config.places)}.weight" for site in targets]


def added(sizes: Sizes, config: Config) -> Added:
    """Count 2 d_attn + d_ff parameters per layer, 4 d_attn + d_ff where it has cross-attention too; no matmuls."""
    if config.places == "all":
        ends = [(role, linear) for role in places.linear_roles(sizes) for linear in places.linears(sizes, role)]
        count = sum(linear.n + (linear.k if role == sizes.together(role)[0] else 0) for role, linear in ends)
        inputs = [replace(linear.place, side="input") for _, linear in ends]
        scaled = (*inputs, *(linear.place for _, linear in ends))
        return Added(num_parameters=count, places=scaled, factors=scaled)
    keys_values = [linear for role in ("k", "v") for linear in places.linears(sizes, role)]
    outs = places.linears(sizes, "ff_out")
    scaled = (*places.keys_values(sizes), *(replace(linear.place, role="ff_hidden") for linear in outs))
    count = sum(linear.n for linear in keys_values) + sum(linear.k for linear in outs)
    return Added(num_parameters=count, places=scaled, factors=scaled)


@torch.no_grad()
def merge(backbone: Backbone) -> None:
    """Fold the vectors into the weights: on an output into rows (with their biases), on an input into columns."""
    attached = _attached(backbone)
    backbone.detach_all()
    sites.keep(backbone, [site for site, _ in attached])
    for site, vector in attached:
        if site.side == "input":
            sites.weight(backbone, site)[:, site.index] *= vector
            continue
        sites.weight(backbone, site)[site.index] *= vector[:, None]
        bias = sites.bias(backbone, site)
        if bias is not None:
            bias[site.index] *= vector


def _name(site: Site, variant: str) -> str:
    if variant == "paper":
        return VECTORS[site.role]
    return "l_in" if site.side == "input" else f"l_out_{site.role}"


def _attached(backbone: Backbone) -> list[tuple[Site, Tensor]]:
    return [(site, module.weight) for (site, _), module in backbone.inserted.items() if isinstance(module, Scale)]


def _to_peft(backbone: Backbone, names: Sequence[str]) -> Exported | None:
    """Write one vector a layer, ones where a fused layer is left alone; peft scales one side of a layer only."""
    ends = {side: {site.module for site, _ in backbone.inserted if site.side == side} for side in ("input", "output")}
    if ends["input"] & ends["output"]:
        return None
    tensors, layers = {}, peft_form.by_module(backbone)
    for name, inserted in layers.items():
        if name in ends["input"]:
            vector = inserted[0][1].weight[None]  # (1, in_features)
        else:
            vector = torch.ones(peft_form.num_outputs(backbone, name), 1)  # (out_features, 1)
            for site, module in inserted:
                vector[site.index, 0] = module.weight
        tensors[f"{PREFIX}{name}.ia3_l"] = vector
    inputs = [name for name in layers if name in ends["input"]]
    return Exported({"peft_type": "IA3", "target_modules": list(layers), "feedforward_modules": inputs}, tensors)


def _from_peft(adapter: PeftAdapter) -> Imported:
    """Read vectors on keys, values and hidden units; those that peft's choice of layers leaves out are ones."""
    vectors = {site: torch.ones(site.features) for site in adapter.base.sites if site.role in VECTORS}
    for module, outputs, (vector,) in adapter.layers("ia3_l"):
        if vector.shape[0] == 1 and vector.shape[1] > 1:  # on the layer's input
            hidden = next((site for site in vectors if site.module == module and site.role == "ff_hidden"), None)
            if hidden is None:
                raise _refused(adapter, f"the input of '{module}'")
            adapter.check_shape(module, vector.shape, [1, hidden.features])
            vectors[hidden] = vectors[hidden] * vector[0]
            continue
        adapter.check_shape(module, vector.shape, [adapter.num_outputs(module), 1])
        for site in outputs:
            piece, ours = vector[site.index, 0], _equivalent(adapter.base, site)
            if ours is not None:
                vectors[ours] = vectors[ours] * piece
            elif not bool((piece == 1).all()):
                raise _refused(adapter, f"the output of '{module}' in the role '{site.role}'")
    tensors = {f"{site.module}.{VECTORS[site.role]}.weight": vector for site, vector in vectors.items()}
    return Imported({"places": "paper"}, tensors)


def _refused(adapter: PeftAdapter, end: str) -> MethodError:
    hint = "(IA)^3 scales keys, values, and the input of the feed-forward block's second matmul"
    return adapter.refused(f"it scales {end}", hint)


def _equivalent(base: Base, site: Site) -> Site | None:
    """Find where a vector of ours does the same as one at a layer's output.

    q l_q * k = q * (l_q k) where no rotation comes between them, and gate(x) * (l up(x)) = l (gate(x) * up(x)).
    """
    if site.role in ("k", "v"):
        return site
    if site.role == "q" and not base.rotary:
        keys = base.at("k", site)
        return keys if keys is not None and keys.features == site.features else None
    return base.at("ff_hidden", site) if site.role == "ff_up" and base.gated else None


PEFT = PeftForm(_to_peft, ("IA3",), _from_peft)
