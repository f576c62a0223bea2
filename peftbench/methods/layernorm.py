"""Layer norm tuning: the model's own norms are trained, and nothing else.

    y = gamma * x / rms(x)          or, with mean and bias, gamma * (x - mean(x)) / std(x) + beta

x, y: (..., d_model), gamma and beta: (d_model).

Paper: 2003.00152, section 3, where it is batch norm that is trained; for layer norms 2312.11420, and as a baseline in
    2205.05638.
Differs: none in what is trained; T-Few steps the norms by 3e-4, ours by 3e-3 like the other methods' vectors. Qwen3's
    norms of each head's queries and keys are norms of the model and are trained too. The norm after the embeddings,
    which BART, BLOOM and BERT have, is a part of these and stays as it is; so does that of DeBERTa's table of
    distances. Gemma stores gamma - 1, which is trained there.
"""

import re
from collections.abc import Sequence
from typing import Any

from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import places, sites
from peftbench.methods.parts.peft_adapter import PeftAdapter
from peftbench.methods.parts.peft_form import PREFIX, Exported, Imported, PeftForm
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
    """Count d_model parameters per norm, twice that with biases; no matmuls."""
    return Added(num_parameters=places.num_norm_parameters(sizes), places=places.norm_places(sizes))


def merge(backbone: Backbone) -> None:
    """Change nothing: the trained values are the model's own norms."""


def _to_peft(backbone: Backbone, names: Sequence[str]) -> Exported:
    """Write the norms' parameters, which peft puts into copies of the norms."""
    tensors = {}
    for name, tensor in backbone.tensors_named(names).items():
        module, _, leaf = name.rpartition(".")
        tensors[f"{PREFIX}{module}.ln_tuning_layers.{leaf}"] = tensor
    modules = sorted({name.rpartition(".")[0] for name in names})
    return Exported({"peft_type": "LN_TUNING", "target_modules": modules}, tensors)


def _from_peft(adapter: PeftAdapter) -> Imported:
    """Read the norms' own parameters, of all norms."""
    norms = [site.module for site in adapter.base.sites if site.role == "norm"]
    leaf = re.compile(r"(.+)\.ln_tuning_layers\.(weight|bias)")
    tensors, covered = {}, set()
    for key, tensor in adapter.tensors.items():
        match = leaf.fullmatch(key)
        if match is None or match[1] not in norms:
            raise adapter.refused(f"it holds '{key}', and that is no norm")
        tensors[f"{match[1]}.{match[2]}"] = tensor
        covered.add(match[1])
    missing = [module for module in norms if module not in covered]
    if missing:
        raise adapter.refused(
            f"it has {len(covered)} of the {len(norms)} norms, not '{missing[0]}'", "all norms are tuned"
        )
    return Imported({}, tensors)


PEFT = PeftForm(_to_peft, ("LN_TUNING",), _from_peft)
