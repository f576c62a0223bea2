"""Our adapters in the layout of the peft library, for the forms that it has.

Low-rank updates become LoRA, whatever method they come from, vectors become (IA)^3, virtual tokens prompt tuning.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from peftbench.errors import MethodError
from peftbench.methods.adalora import Svd
from peftbench.methods.ia3 import Scale
from peftbench.methods.lora import LowRank
from peftbench.models.backbone import SOFT_PROMPT, Backbone, Site

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
Form = tuple[dict[str, Any], dict[str, Tensor]]
"""Fields of peft's config, and tensors by peft's names."""


def form(backbone: Backbone, method: str, names: Sequence[str]) -> Form:
    """Give what peft is told of the adapter that is attached.

    Args:
        backbone: With the adapter attached, and nothing else.
        method: Its name, for errors.
        names: Full names of its parameters.

    Raises:
        MethodError: peft has no such form.
    """
    inserted = backbone.inserted
    kinds = {type(module) for module in inserted.values()}
    owners = {f"{site.module}.{name}" for site, name in inserted}
    elsewhere = [name for name in names if name.rpartition(".")[0] not in owners]
    if kinds and kinds <= {LowRank, Svd} and not elsewhere:
        return _low_rank(backbone)
    if kinds == {Scale} and not elsewhere and not _on_both_sides(list(inserted)):
        return _vectors(backbone)
    if list(names) == [f"{SOFT_PROMPT}.P"]:
        return _prompt(backbone)
    raise MethodError(
        f"peft has no form for what this {method} adapter does at '{(elsewhere or list(names))[0]}'",
        hint="`peftbench predict` uses it as it is; --to merged, where the method can be folded",
    )


def _on_both_sides(keys: Sequence[tuple[Site, str]]) -> bool:
    return bool(
        {site.module for site, _ in keys if site.side == "input"}
        & {site.module for site, _ in keys if site.side == "output"}
    )


def _low_rank(backbone: Backbone) -> Form:
    """LoRA with one pair of factors a module; where a module holds several sites, their factors side by side."""
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name, here in _by_module(backbone).items():
        factors = [(site, *module.factors()) for site, module in here]
        ranks[name] = sum(len(a) for _, _, a in factors)
        b = torch.zeros(_num_outputs(backbone, name), ranks[name])
        start = 0
        for site, left, a in factors:
            b[site.start : site.stop, start : start + len(a)] = left
            start += len(a)
        tensors[f"{PREFIX}{name}.lora_A.weight"] = torch.cat([a for *_, a in factors])
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b
    # alpha = rank in every module: the factors hold the scale already. peft's patterns are regular expressions.
    patterns = {name.replace(".", r"\."): rank for name, rank in ranks.items()}
    rank = max(ranks.values())
    same = {"r": rank, "lora_alpha": rank, "rank_pattern": patterns, "alpha_pattern": patterns}
    return {"peft_type": "LORA", "target_modules": list(ranks), "lora_dropout": 0.0, "bias": "none", **same}, tensors


def _vectors(backbone: Backbone) -> Form:
    """(IA)^3 with one vector a module, ones where a fused module is left alone."""
    tensors, inputs = {}, []
    for name, here in _by_module(backbone).items():
        if here[0][0].side == "input":
            inputs.append(name)
            vector = here[0][1].weight[None]
        else:
            vector = torch.ones(_num_outputs(backbone, name), 1)
            for site, module in here:
                vector[site.start : site.stop, 0] = module.weight
        tensors[f"{PREFIX}{name}.ia3_l"] = vector
    return {"peft_type": "IA3", "target_modules": list(_by_module(backbone)), "feedforward_modules": inputs}, tensors


def _prompt(backbone: Backbone) -> Form:
    """Prompt tuning; for encoder-decoders peft keeps a second half of rows that it never uses."""
    assert backbone.soft_prompt is not None
    prompt: Tensor = backbone.soft_prompt()
    fields = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": len(prompt), "token_dim": prompt.shape[1]}
    if backbone.is_encoder_decoder:
        prompt = torch.cat((prompt, torch.zeros_like(prompt)))
    return fields | {"num_transformer_submodules": 2 if backbone.is_encoder_decoder else 1}, {
        "prompt_embeddings": prompt
    }


def _by_module(backbone: Backbone) -> dict[str, list[tuple[Site, Any]]]:
    found: dict[str, list[tuple[Site, Any]]] = {}
    for (site, _), module in backbone.inserted.items():
        found.setdefault(site.module, []).append((site, module))
    return found


def _num_outputs(backbone: Backbone, name: str) -> int:
    module = backbone.model.get_submodule(name)
    return int(getattr(module, "nf", 0) or module.out_features)  # GPT-2's Conv1D calls it nf


def write(folder: Path, backbone: Backbone, method: str, names: Sequence[str], model: str) -> None:
    """Write a folder that `peft.PeftModel.from_pretrained` loads.

    Args:
        folder: Where; it is there.
        backbone: With the adapter attached.
        method: Its name, for errors.
        names: Full names of its parameters.
        model: Name of the model.

    Raises:
        MethodError: peft has no such form.
    """
    fields, tensors = form(backbone, method, names)
    task = "SEQ_2_SEQ_LM" if backbone.is_encoder_decoder else "CAUSAL_LM"
    config = {"base_model_name_or_path": model, "task_type": task, "inference_mode": True, **fields}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    plain = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, folder / TENSORS, metadata={"format": "pt"})
