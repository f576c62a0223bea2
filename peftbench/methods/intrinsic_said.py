"""Intrinsic SAID: all weights are moved by random projections of one short vector, each layer at a scale of its own.

    theta_D^(i) = theta_0^(i) + lambda_i V^(i) theta_(d-m)          i = 1 .. m layers

theta starts at zero and the lambda_i at one; together they are d numbers. What lies outside the layers (embeddings,
head, last norms) counts as one more layer.

Paper: 2012.13255, section 3.1 (structure-aware intrinsic dimension, SAID).
Differs: T-Few projects into a vector of (rows + columns) numbers for each matrix and moves it by their outer product, a
    rank-one change, since its CUDA extension could not hold more; at the start that product of zeros has no gradient,
    and only the norms move. It has a lambda for each parameter and loses one number in counting. Here each matrix gets
    a full projection, as in the paper, by Fastfood in plain torch.
"""

from typing import Any

import torch
from pydantic import Field
from torch import nn

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import fastfood, places
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

PAPER = "2012.13255, section 3.1"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
# theta starts at zero, where scale_parameter would shrink its steps.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}

NAME = "said"


class Config(MethodConfig):
    """Settings of SAID.

    Args:
        intrinsic_dimension: d, the lambdas among it; T-Few's are 20,000 and 500,000.
        projection_seed: Of the random projections, which are made again from it and not saved.
    """

    intrinsic_dimension: int = Field(1000, ge=1)
    projection_seed: int = Field(0, ge=0)


class Subspace(nn.Module):
    """The trained coordinates theta (d - m) and scales lambda (m).

    Args:
        dimension: d.
        num_layers: m.
    """

    def __init__(self, dimension: int, num_layers: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(dimension - num_layers))
        self.scales = nn.Parameter(torch.ones(num_layers))


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Shift every parameter of the model by its scaled projection of theta.

    Raises:
        MethodError: The lambdas alone are d or more, or d is more than the model has parameters.
    """
    prefixes = [f"{layer.module}." for layer in backbone.layers()]
    num_layers = len(prefixes) + 1
    if config.intrinsic_dimension <= num_layers:
        raise MethodError(
            f"intrinsic_dimension = {config.intrinsic_dimension} leaves nothing beside a scale for each of "
            f"{num_layers} layers",
            hint=f"at least {num_layers + 1}",
        )
    subspace = Subspace(config.intrinsic_dimension, num_layers)
    backbone.adopt(NAME, subspace)
    groups = [
        next((index for index, prefix in enumerate(prefixes) if name.startswith(prefix)), num_layers - 1)
        for name in backbone.base_names
    ]
    fastfood.shift_all(backbone, subspace.theta, config.projection_seed, subspace.scales, groups)
    return [f"{NAME}.theta", f"{NAME}.scales"]


def added(sizes: Sizes, config: Config) -> Added:
    """Count d parameters; the projections take no matmuls."""
    return Added(num_parameters=config.intrinsic_dimension, weights=places.matrices(sizes), embeddings=True, head=True)


def merge(backbone: Backbone) -> None:
    """Add the scaled projections to the weights."""
    backbone.fold_overlays()
