"""FISH mask: the few weights with the largest Fisher information are trained, wherever they lie.

    theta + delta,  delta not zero only at the keep_ratio N largest of  F_i = mean over shots of (d L / d theta_i)^2

Paper: 2111.09839, section 3.
Differs: the paper takes the gradient of log p(y | x) with y from the model or from the labels; as in T-Few's code it is
    that of the training loss on the shots, one at a time, each under one template. T-Few trains a full copy of the
    model under a mask and stores both (14 GB at T0-3B); here delta alone is trained and stored, with its places.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import places, sparse
from peftbench.methods.stages import Loss, Shots
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

PAPER = "2111.09839, section 3"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
# delta starts at zero, where scale_parameter would shrink its steps.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}

NAME = "fishmask"


class Config(MethodConfig):
    """Settings of the FISH mask.

    Args:
        keep_ratio: Share of all of the model's weights that is trained: T-Few's are 0.002 and 0.0002.
    """

    keep_ratio: float = Field(0.002, gt=0, le=1)


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Overlay the model with a change of keep_ratio N weights, drawn at random until `prepare` sees the shots.

    Raises:
        MethodError: keep_ratio of the model's weights is less than one.
    """
    total = backbone.num_parameters
    count = int(config.keep_ratio * total)
    if not count:
        raise MethodError(
            f"keep_ratio = {config.keep_ratio:g} of {total:,} weights is none", hint=f"such as {2 / total:.1g}"
        )
    return sparse.overlay(backbone, NAME, torch.randperm(total)[:count].sort().values)


def prepare(backbone: Backbone, config: Config, shots: Shots, loss: Loss) -> None:
    """Choose the weights by their squared gradients on the shots, the i-th shot under the i-th template."""
    names = backbone.base_names
    parameters = list(backbone.parameters_named(names).values())
    backbone.model.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    fisher = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in parameters]
    for index, templates in enumerate(shots):
        loss([templates[index % len(templates)]]).backward()
        for total, parameter in zip(fisher, parameters, strict=True):
            if parameter.grad is not None:
                total += parameter.grad.float().square() / len(shots)
            parameter.grad = None
    chosen = backbone.model.get_buffer(f"{NAME}.places")  # (k)
    squares = torch.cat([total.flatten().to(chosen.device) for total in fisher])  # (weights)
    largest = squares.topk(len(chosen)).indices  # k of (weights)
    chosen.copy_(largest.sort().values)


def finish(backbone: Backbone, config: Config) -> list[str]:
    """List values and places: both are saved."""
    return sparse.saved(NAME)


def restore(backbone: Backbone, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Overlay the model with a change of as many weights as were saved."""
    return sparse.restore(backbone, NAME, shapes)


def added(sizes: Sizes, config: Config) -> Added:
    """Declare a share of all of the model's weights, whose number the sizes do not tell; saved with int64 places."""
    return Added(
        num_parameters=None,
        share=config.keep_ratio,
        saved_bytes=(4 + 8) * config.keep_ratio,
        weights=places.matrices(sizes),
        embeddings=True,
        head=True,
        looks=1,
    )


def merge(backbone: Backbone) -> None:
    """Add delta to the weights."""
    backbone.fold_overlays()
