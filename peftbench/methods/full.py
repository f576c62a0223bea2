"""Full fine-tuning: every parameter of the model is trained.

    theta <- theta - update          theta: all weights, embeddings and norms

Paper: 1910.10683, section 3.5.1; as a baseline in 2205.05638.
"""

from typing import Any

from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import places
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

PAPER = "1910.10683, section 3.5.1"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {places.KEY_BIAS + "bias": places.SHIFTS_ALL}
DEFAULTS: dict[str, Any] = {"lr": 3e-4, "scale_parameter": True, "num_steps": 300}


class Config(MethodConfig):
    """Full fine-tuning has no settings."""


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Free all parameters; tied ones are named once."""
    return [name for name, _ in backbone.model.named_parameters()]


def added(sizes: Sizes, config: Config) -> Added:
    """Leave the count open: how many parameters a model has beside its matmuls, the sizes do not tell."""
    return Added(num_parameters=None, weights=places.matrices(sizes), embeddings=True, head=True)


def merge(backbone: Backbone) -> None:
    """Change nothing: the trained values are the weights themselves."""
