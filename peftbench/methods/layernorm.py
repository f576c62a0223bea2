"""Layer norm tuning: the model's own norms are trained, and nothing else.

    y = gamma * x / rms(x)          or, with mean and bias, gamma * (x - mean(x)) / std(x) + beta

Paper: 2003.00152, section 3, where it is batch norm that is trained; for layer norms 2312.11420, and as a baseline in
    2205.05638.
Differs: none in what is trained; T-Few steps the norms by 3e-4, ours by 3e-3 like the other methods' vectors. Qwen3's
    norms of each head's queries and keys are norms of the model and are trained too. The norm after the embeddings,
    which BART and BLOOM have, is a part of these and stays as it is. Gemma stores gamma - 1, which is trained there.
"""

from typing import Any

from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import places, sites
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

PAPER = "2312.11420, section 3"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
# GPT-2's norms have biases near zero, whose steps scale_parameter would shrink.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}


class Config(MethodConfig):
    """Layer norm tuning has no settings."""


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Free gamma, and beta where there is one, of every norm.

    Raises:
        MethodError: The backbone has no norms.
    """
    return sites.norms(backbone, "layer norm tuning")


def added(sizes: Sizes, config: Config) -> Added:
    """Give d_model parameters per norm, twice that with biases; no matmuls."""
    return Added(num_parameters=places.num_norm_parameters(sizes), places=places.norm_places(sizes))


def merge(backbone: Backbone) -> None:
    """Do nothing: what was trained are the model's own norms."""
