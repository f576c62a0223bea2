"""Bottleneck adapters: a small two-layer network behind the attention and feed-forward blocks.

    y + W_up f(W_down y + b_down) + b_up          W_down: (bottleneck, d_model)   W_up: (d_model, bottleneck)

y, (..., d_model), is what a block adds to the residual stream. Placement "houlsby" adapts self-attention and
feed-forward blocks, "pfeiffer" the feed-forward blocks only; `drop_layers` leaves the lowest layers of each stack
without adapters (AdapterDrop).

Paper: 1902.00751, section 2.1 (houlsby); 2005.00247, section 3 (pfeiffer); 2010.11918 (AdapterDrop).
Differs: T-Few's text says after attention and feed-forward, its code and published 12.9M parameters are after the
    feed-forward block only, that is "pfeiffer"; it trains all layer norms besides, takes ReLU, and starts with
    N(0, 0.02^2). As there and in Compacter, cross-attention gets no adapter. On models with a norm behind each block
    (Gemma 2 and 3) adapters stand before that norm. "pfeiffer" is the placement alone: that paper's adapter reads the
    state behind the residual sum. AdapterDrop drops layers at random in training or a fixed number; here a fixed
    number, in training and inference. Houlsby's weights start at a normal that is cut off at two standard deviations,
    ours at one that is not.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig, Op
from peftbench.methods.parts import places, sites
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

PAPER = "1902.00751, section 2.1"
IDENTITY_AT_INIT = False  # near it: the weights start small, not at zero
DEAD: dict[str, str] = {}
# Small initial weights would make scale_parameter's steps small too.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}

NAME = "bottleneck"
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": functional.relu, "gelu": functional.gelu}


class Config(MethodConfig):
    """Settings of bottleneck adapters.

    Args:
        placement: "houlsby" or "pfeiffer".
        reduction_factor: The bottleneck has d_model / reduction_factor features, at least one.
        activation: f.
        init_std: Standard deviation of the initial weights; 1902.00751 takes 0.01, T-Few 0.02.
        drop_layers: How many of each stack's lowest layers get no adapter.
        layer_norms: Train the norms' own parameters beside the adapters, as the papers.
    """

    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    reduction_factor: int = Field(32, ge=1)
    activation: Literal["relu", "gelu"] = "gelu"
    init_std: float = Field(0.01, gt=0)
    drop_layers: int = Field(0, ge=0)
    layer_norms: bool = False


class Adapter(nn.Module):
    """The adapter behind one block.

    Args:
        d_model: Features of the residual stream.
        bottleneck: Features between the two layers.
        config: Activation and initial weights.
    """

    def __init__(self, d_model: int, bottleneck: int, config: Config) -> None:
        super().__init__()
        self.W_down = nn.Parameter(config.init_std * torch.randn(bottleneck, d_model))
        self.b_down = nn.Parameter(torch.zeros(bottleneck))
        self.W_up = nn.Parameter(config.init_std * torch.randn(d_model, bottleneck))
        self.b_up = nn.Parameter(torch.zeros(d_model))
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Compute y + W_up f(W_down y + b_down) + b_up, (..., d_model).

        Args:
            y: (..., d_model) the block's output.
            x: The input of the block's last layer; not used.
        """
        # (..., d_model) -> (..., bottleneck)
        inner = self.activation(functional.linear(y.to(self.W_down.dtype), self.W_down, self.b_down))
        return y + functional.linear(inner, self.W_up, self.b_up)


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Insert an adapter behind each block of the placement.

    Raises:
        MethodError: The backbone lacks such blocks, or `drop_layers` leaves no layer.
    """
    _check(backbone.sizes, config)
    targets = sites.block_ends(backbone, config.placement == "houlsby", "bottleneck adapters")
    targets = [site for site in targets if site.layer >= config.drop_layers]
    freed = sites.norms(backbone, "bottleneck adapters") if config.layer_norms else []
    for site in targets:
        backbone.insert(site, NAME, Adapter(site.features, _bottleneck(backbone.sizes, config), config))
    parts = ("W_down", "b_down", "W_up", "b_up")
    return [f"{site.module}.{NAME}.{part}" for site in targets for part in parts] + freed


def added(sizes: Sizes, config: Config) -> Added:
    """Count 2 d_model b + b + d_model parameters and two matmuls per block, b the bottleneck."""
    bottleneck = _bottleneck(sizes, config)
    ends = places.block_end_places(sizes, config.placement == "houlsby")
    ops: list[Op] = []
    for place in (place for place in ends if place.layer >= config.drop_layers):
        ops.append(Op(place, sizes.d_model, bottleneck, mergeable=False))
        ops.append(Op(place, bottleneck, sizes.d_model, mergeable=False, reads="trained"))
    count = sum(op.k * op.n + op.n for op in ops)
    count += places.num_norm_parameters(sizes) if config.layer_norms else 0
    return Added(num_parameters=count, ops=tuple(ops), places=places.norm_places(sizes) if config.layer_norms else ())


merge = None
UNMERGEABLE = "the activation stands between the two layers"


def _bottleneck(sizes: Sizes, config: Config) -> int:
    return max(1, sizes.d_model // config.reduction_factor)


def _check(sizes: Sizes, config: Config) -> None:
    num_layers = min(sizes.num_encoder_layers or sizes.num_decoder_layers, sizes.num_decoder_layers)
    if config.drop_layers >= num_layers:
        raise MethodError(
            f"drop_layers = {config.drop_layers} leaves no layer with an adapter: the model has {num_layers}",
            hint=f"at most {num_layers - 1}",
        )
