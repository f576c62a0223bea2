"""Intrinsic dimension: all weights are moved together, by a random projection of one short vector.

    theta_D = theta_0 + V theta_d          V: Fastfood, (D, d)   theta_d: (intrinsic_dimension), starts at zero

Paper: 1804.08838, section 2; for language models 2012.13255, section 3 (DID).
Differs: as in the authors' code each parameter of the model has a projection of its own, of the one theta_d; it keeps
    lengths in expectation. A parameter with fewer weights than d sees all of theta_d, where that code cuts it.
"""

from typing import Any

import torch
from pydantic import Field
from torch import nn

from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import fastfood, places
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

PAPER = "1804.08838, section 2"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
# theta_d starts at zero, where scale_parameter would shrink its steps.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}

NAME = "intrinsic"


class Config(MethodConfig):
    """Settings of intrinsic-dimension tuning.

    Args:
        intrinsic_dimension: d.
        projection_seed: Of the random projections, which are made again from it and not saved.
    """

    intrinsic_dimension: int = Field(1000, ge=1)
    projection_seed: int = Field(0, ge=0)


class Subspace(nn.Module):
    """The trained coordinates theta_d, (dimension)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(dimension))


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Shift every parameter of the model by its projection of theta_d.

    Raises:
        MethodError: theta_d is longer than the model has parameters.
    """
    subspace = Subspace(config.intrinsic_dimension)
    backbone.adopt(NAME, subspace)
    fastfood.shift_all(backbone, subspace.theta, config.projection_seed)
    return [f"{NAME}.theta"]


def added(sizes: Sizes, config: Config) -> Added:
    """Count d parameters; the projections take no matmuls."""
    return Added(num_parameters=config.intrinsic_dimension, weights=places.matrices(sizes), embeddings=True, head=True)


def merge(backbone: Backbone) -> None:
    """Add the projections to the weights."""
    backbone.fold_overlays()
