"""Folders of the peft library as starting points: the same function, in the shapes of our methods.

| peft_type | method | |
|---|---|---|
| LORA | lora | all modules of one rank; where a layer is fused, each of its roles starts with the layer's A |
| IA3 | ia3 | vectors that are not there are ones; one on the queries goes into the keys where nothing stands between |
| ADALORA | adalora | where it acts on all linear layers; the schedule starts anew |
| PROMPT_TUNING, P_TUNING | prompt_tuning | of an encoder-decoder the half that peft uses |
| BEFT | bitfit | |
| LN_TUNING | layernorm | all norms |

What changes what peft computes and has no place here is refused by its name.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peftbench import registry
from peftbench.adapters.peft import folder
from peftbench.adapters.peft.folder import Base, Given
from peftbench.adapters.peft.write import TENSORS
from peftbench.errors import MethodError
from peftbench.methods.parts import places
from peftbench.models import source, weights
from peftbench.models.backbone import SOFT_PROMPT
from peftbench.models.load import read_config
from peftbench.models.shapes import Site


@dataclass(frozen=True)
class Held:
    """What a folder holds, in our terms.

    Args:
        method: Name in the registry.
        config: Its settings.
        tensors: Full name of our parameter -> float32 values.
        sha256: Of the file of tensors.
        model: As the folder names it.
        fingerprint: Of the model's weights, where this package wrote the folder.
    """

    method: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    sha256: str
    model: str | None
    fingerprint: str | None


Form = tuple[str, dict[str, Any], dict[str, Tensor]]
"""Method, settings, and tensors by our names."""


def describe(name: str, revision: str | None = None, allow_pickle: bool = False) -> Base:
    """Tell a model's places from its config.

    Raises:
        ModelError: Nothing of that name, or an unknown family.
    """
    config = read_config(source.find(name, revision, allow_pickle))
    family = registry.family(config.model_type)
    sizes = family.sizes(config)
    rotary = getattr(config, "rope_parameters", None) is not None
    return Base(name, sizes.is_encoder_decoder, sizes.gated, rotary, family.sites(sizes))


def read(path: Path, base: Base) -> Held:
    """Read a folder of the peft library.

    Args:
        path: Holds adapter_config.json and adapter_model.safetensors.
        base: The model that it is to go on.

    Raises:
        MethodError: Damaged, of a form that no method has, or not for this model.
    """
    fields = folder.fields(path)
    kind = fields.get("peft_type")
    if kind not in FORMS:
        raise MethodError(
            f"peft adapter '{path}' is of peft_type {kind}, which no method here starts from",
            hint=f"possible: {', '.join(FORMS)}",
        )
    tensors, note = folder.tensors(path)
    given = Given(path, fields, tensors, note, base)
    folder.check(given)
    method, config, ours = FORMS[kind](given)
    digest = weights.fingerprint([path / TENSORS])
    return Held(method, config, ours, digest, fields.get("base_model_name_or_path"), note.get("fingerprint"))


def _lora(given: Given) -> Form:
    """Updates of one rank and one scale; those that this package put side by side come apart again."""
    own = given.own("lora")
    tensors: dict[str, Tensor] = {}
    covered: list[Site] = []
    shapes: dict[str, int] = {}
    scales: dict[str, float] = {}
    for module, sites, (a, b) in given.layers("lora_A.weight", "lora_B.weight"):
        sites = [site for site in sites if own.get("roles", "all") == "all" or site.role in own["roles"]]
        given.fits(module, [a.shape[1], b.shape[0]], [sites[0].in_features, given.num_outputs(module)])
        scales[module] = _scale(given.fields, module, len(a))
        rank = own.get("rank", len(a))
        apart = len(sites) > 1 and len(a) == rank * len(sites)
        for index, site in enumerate(sites):
            part = slice(index * rank, (index + 1) * rank) if apart else slice(None)
            tensors[f"{module}.lora_{site.role}.A"] = a[part].clone()
            tensors[f"{module}.lora_{site.role}.B"] = b[site.index, part].clone()
        shapes[module] = rank if apart else len(a)
        covered += sites
    rank = _one(given, shapes, "rank")
    scale = _one(given, scales, "scale")
    roles = given.roles(covered)
    everywhere = {site.role for site in given.base.sites if site.side == "output"} & {*places.LINEAR}
    alpha = float(f"{scale * rank:.12g}")
    return "lora", {"rank": rank, "alpha": alpha, "roles": "all" if {*roles} == everywhere else list(roles)}, tensors


def _scale(fields: dict[str, Any], module: str, rank: int) -> float:
    """Give alpha / rank, or alpha / sqrt(rank) with rsLoRA; a module may have an alpha of its own."""
    patterns = fields.get("alpha_pattern") or {}
    own = [alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", module)]
    alpha = own[0] if own else fields.get("lora_alpha", 8)
    return float(alpha) / (math.sqrt(rank) if fields.get("use_rslora") else rank)


def _one(given: Given, values: dict[str, Any], what: str) -> Any:
    """Give the value that all modules share."""
    first, *_ = values.items()
    for module, value in values.items():
        if not math.isclose(value, first[1], rel_tol=1e-9):
            raise given.refused(
                f"'{first[0]}' has {what} {first[1]:g} and '{module}' {value:g}",
                f"a LoRA has one {what} for all layers here: train without rank_pattern and alpha_pattern",
            )
    return first[1]


def _ia3(given: Given) -> Form:
    """Vectors on keys, values and hidden units; what peft's own choice of layers leaves out is ones."""
    wanted = [site for site in given.base.sites if site.role in ("k", "v", "ff_hidden")]
    vectors = {site: torch.ones(site.features) for site in wanted}
    for module, sites, (vector,) in given.layers("ia3_l"):
        hidden = next((site for site in wanted if site.module == module and site.role == "ff_hidden"), None)
        if vector.shape[0] == 1 and vector.shape[1] > 1:
            if hidden is None:
                raise given.refused(
                    f"it scales the input of '{module}'",
                    "(IA)^3 scales keys, values, and the input of the feed-forward block's second matmul",
                )
            given.fits(module, vector.shape, [1, hidden.features])
            vectors[hidden] = vectors[hidden] * vector[0]
            continue
        given.fits(module, vector.shape, [given.num_outputs(module), 1])
        for site in sites:
            piece = vector[site.index, 0]
            place = _stands_for(given.base, site)
            if place is not None:
                vectors[place] = vectors[place] * piece
            elif not bool((piece == 1).all()):
                raise given.refused(
                    f"it scales the output of '{module}' in the role '{site.role}'",
                    "(IA)^3 scales keys, values, and the input of the feed-forward block's second matmul",
                )
    names = {"k": "l_k", "v": "l_v", "ff_hidden": "l_ff"}
    return "ia3", {"places": "paper"}, {f"{s.module}.{names[s.role]}.weight": v for s, v in vectors.items()}


def _stands_for(base: Base, site: Site) -> Site | None:
    """Find where a vector at a layer's output does the same.

    q l_q * k = q * (l_q k) where no rotation comes between them, and gate(x) * (l up(x)) = l (gate(x) * up(x)).
    """
    if site.role in ("k", "v"):
        return site
    if site.role == "q" and not base.rotary:
        keys = base.at("k", site)
        return keys if keys is not None and keys.features == site.features else None
    return base.at("ff_hidden", site) if site.role == "ff_up" and base.gated else None


def _prompt(given: Given) -> Form:
    """The virtual tokens before the input."""
    prompt = given.tensors.get("prompt_embeddings")
    if prompt is None or len(given.tensors) > 1:
        raise given.refused(f"it holds '{next(iter(given.tensors), 'nothing')}'", "a prompt is 'prompt_embeddings'")
    number = int(given.fields.get("num_virtual_tokens") or len(prompt))
    d_model = next(site.in_features for site in given.base.sites if site.role == "q")
    given.fits("prompt_embeddings", prompt[:number].shape, [number, d_model])
    return "prompt_tuning", {"num_virtual_tokens": number}, {f"{SOFT_PROMPT}.P": prompt[:number].clone()}


def _biases(given: Given) -> Form:
    """Biases of whole roles."""
    tensors: dict[str, Tensor] = {}
    covered: list[Site] = []
    for module, sites, (bias,) in given.layers("beft_bias"):
        given.fits(module, bias.shape, [1, given.num_outputs(module)])
        tensors |= {f"{module}.bitfit_{site.role}.b": bias[0, site.index].clone() for site in sites}
        covered += sites
    roles = given.own("bitfit").get("roles", list(given.roles(covered)))
    return "bitfit", {"roles": roles}, tensors


def _norms(given: Given) -> Form:
    """The norms' own parameters."""
    norms = [site.module for site in given.base.sites if site.role == "norm"]
    leaf = re.compile(r"(.+)\.ln_tuning_layers\.(weight|bias)")
    matches = {key: leaf.fullmatch(key) for key in given.tensors}
    strange = [key for key, match in matches.items() if match is None or match[1] not in norms]
    if strange:
        raise given.refused(f"it holds '{strange[0]}', and that is no norm")
    there = {match[1] for match in matches.values() if match}
    missing = [module for module in norms if module not in there]
    if missing:
        raise given.refused(f"it has {len(there)} of the {len(norms)} norms, not '{missing[0]}'", "all norms are tuned")
    return "layernorm", {}, {f"{m[1]}.{m[2]}": given.tensors[key] for key, m in matches.items() if m}


def _svd(given: Given) -> Form:
    """P Lambda Q of all linear layers; peft scales it by alpha / init_r, however many values a layer has kept."""
    fields = given.fields
    rank = int(fields.get("init_r", 12))
    alpha = float(fields.get("lora_alpha", 8))
    alpha = alpha if alpha > 0 else float(rank)
    tensors: dict[str, Tensor] = {}
    covered: list[Site] = []
    for module, sites, (a, b, e) in given.layers("lora_A", "lora_B", "lora_E"):
        given.fits(module, [a.shape[1], b.shape[0]], [sites[0].in_features, given.num_outputs(module)])
        values = e[:, 0] * (rank / (rank + 1e-5))  # peft adds that much to what it divides by
        for site in sites:
            parts = {"P": b[site.index], "Lambda": values, "Q": a}
            tensors |= {f"{module}.adalora_{site.role}.{name}": part.clone() for name, part in parts.items()}
        covered += sites
    roles = {*given.roles(covered)}
    missing = [site for site in given.base.sites if site.role in places.LINEAR and site.role not in roles]
    if missing:
        raise given.refused(f"it does not act on '{missing[0].module}'", "AdaLoRA acts on all linear layers here")
    target = min(rank, int(fields.get("target_r", 8)))
    return "adalora", {"init_rank": rank, "target_rank": target, "alpha": alpha}, tensors


FORMS: dict[str, Callable[[Given], Form]] = {
    "LORA": _lora,
    "ADALORA": _svd,
    "IA3": _ia3,
    "PROMPT_TUNING": _prompt,
    "P_TUNING": _prompt,
    "BEFT": _biases,
    "LN_TUNING": _norms,
}
