"""Our adapters in the layout of the peft library, for the forms that it has.

| here | peft_type |
|---|---|
| low-rank updates, whatever method they come from | LORA |
| vectors on keys, values and hidden units | IA3 |
| virtual tokens | PROMPT_TUNING |
| keys and values before those of a decoder-only model's tokens | PREFIX_TUNING |
| biases on linear layers | BEFT |
| norms | LN_TUNING |
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.methods.adalora import Svd
from peftbench.methods.bitfit import Bias
from peftbench.methods.ia3 import Scale
from peftbench.methods.lora import LowRank
from peftbench.models.backbone import SOFT_PROMPT, Backbone
from peftbench.models.shapes import Site

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
NOTE = "peftbench"
"""Name in the tensors' metadata of what the adapter was here: it goes where the tensors go, and peft leaves it out."""
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
    owners |= {f"{block.module}.prefix" for block in backbone.prefixes}
    elsewhere = [name for name in names if name.rpartition(".")[0] not in owners]
    if list(names) == [f"{SOFT_PROMPT}.P"]:
        return _prompt(backbone)
    if elsewhere and not inserted and {name.rpartition(".")[0] for name in names} == _norm_modules(backbone):
        return _norms(backbone, names)
    if not elsewhere:
        if backbone.prefixes and not kinds:
            return _prefix(backbone)
        if kinds and kinds <= {LowRank, Svd}:
            return _low_rank(backbone)
        if kinds == {Scale} and not _on_both_sides(list(inserted)):
            return _vectors(backbone)
        if kinds == {Bias} and all(_is_plain_linear(backbone, site) for site, _ in inserted):
            return _biases(backbone)
    if method.startswith("peft:"):
        raise MethodError(
            f"an adapter of {method} is kept in the layout of peftbench only",
            hint="`peftbench predict` uses it as it is",
        )
    raise MethodError(
        f"peft has no form for what this {method} adapter does at '{(elsewhere or list(names))[0]}'",
        hint="`peftbench predict` uses it as it is; --to merged, where the method can be folded",
    )


def _on_both_sides(keys: Sequence[tuple[Site, str]]) -> bool:
    return bool(
        {site.module for site, _ in keys if site.side == "input"}
        & {site.module for site, _ in keys if site.side == "output"}
    )


def _is_plain_linear(backbone: Backbone, site: Site) -> bool:
    return type(backbone.model.get_submodule(site.module)) is nn.Linear


def _norm_modules(backbone: Backbone) -> set[str]:
    return {site.module for site in backbone.sites("norm")}


def _low_rank(backbone: Backbone) -> Form:
    """LoRA with one pair of factors a module; where a module holds several sites, their factors side by side."""
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for name, here in _by_module(backbone).items():
        factors = [(site, *_factors(module)) for site, module in here]
        rank = sum(len(a) for _, _, a, _ in factors)
        if not rank:  # AdaLoRA may keep nothing of a layer, and peft takes no rank of 0
            continue
        b = torch.zeros(_num_outputs(backbone, name), rank)
        start = 0
        for site, left, a, _ in factors:
            b[site.index, start : start + len(a)] = left
            start += len(a)
        tensors[f"{PREFIX}{name}.lora_A.weight"] = torch.cat([a for _, _, a, _ in factors])
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b
        ranks[name], alphas[name] = rank, factors[0][3] * rank
    if not ranks:
        raise MethodError(
            "this adapter has kept no value of any layer: the model with it is the model without",
            hint="train it for longer, or use the model as it is",
        )
    rank = max(ranks.values())
    fields: dict[str, Any] = {"peft_type": "LORA", "target_modules": list(ranks), "lora_dropout": 0.0, "bias": "none"}
    fields |= {"r": rank, "lora_alpha": max(alphas.values())}
    if len(set(ranks.values())) > 1:  # peft's patterns are regular expressions
        fields["rank_pattern"] = {name.replace(".", r"\."): one for name, one in ranks.items()}
        fields["alpha_pattern"] = {name.replace(".", r"\."): one for name, one in alphas.items()}
    return fields, tensors


def _factors(module: LowRank | Svd) -> tuple[Tensor, Tensor, float]:
    """Give B (n, rank), A (rank, k) and what their product is scaled by."""
    if isinstance(module, LowRank):
        return module.B, module.A, module.scale
    return *module.factors(), 1.0


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
                vector[site.index, 0] = module.weight
        tensors[f"{PREFIX}{name}.ia3_l"] = vector
    return {"peft_type": "IA3", "target_modules": list(_by_module(backbone)), "feedforward_modules": inputs}, tensors


def _biases(backbone: Backbone) -> Form:
    """A bias for each module, zeros where a fused one is left alone."""
    tensors = {}
    for name, here in _by_module(backbone).items():
        bias = torch.zeros(1, _num_outputs(backbone, name))
        for site, module in here:
            bias[0, site.index] = module.b
        tensors[f"{PREFIX}{name}.beft_bias"] = bias
    return {"peft_type": "BEFT", "target_modules": list(_by_module(backbone))}, tensors


def _norms(backbone: Backbone, names: Sequence[str]) -> Form:
    """The norms' parameters, in copies of the norms."""
    tensors = {}
    for name, tensor in backbone.tensors_named(names).items():
        module, _, leaf = name.rpartition(".")
        tensors[f"{PREFIX}{module}.ln_tuning_layers.{leaf}"] = tensor
    return {"peft_type": "LN_TUNING", "target_modules": sorted(_norm_modules(backbone))}, tensors


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


def _prefix(backbone: Backbone) -> Form:
    """Prefix tuning; peft puts it into the cache, so that a text's positions go on after it.

    A prefix that stands before the first position keeps its distances where positions are rotations: its keys are
    turned forward by as many positions as it then takes up.

    Raises:
        MethodError: peft's prefix would act elsewhere, or at other positions.
    """
    reason = _no_prefix(backbone)
    if reason:
        hint = "`peftbench predict` uses it as it is"
        raise MethodError(f"peft's prefix tuning does not compute what this one does: {reason}", hint=hint)
    blocks = sorted(backbone.prefixes.items(), key=lambda pair: pair[0].layer)
    pairs = []
    for block, prefix in blocks:
        keys, values = prefix()
        pairs += [_moved(backbone, block.module, keys), values]
    num_heads, num_keys, d_kv = pairs[0].shape
    sizes = {"num_layers": len(blocks), "num_attention_heads": num_heads, "token_dim": num_heads * d_kv}
    fields = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": num_keys, "num_transformer_submodules": 1, **sizes}
    return fields, {"prompt_embeddings": torch.stack(pairs).permute(2, 0, 1, 3).flatten(1)}


def _no_prefix(backbone: Backbone) -> str:
    """Say what keeps a prefix from being the same in peft; nothing where it is."""
    config = backbone.model.config
    if backbone.is_encoder_decoder:
        return "it reaches the decoder's self-attention, and not the encoder's, nor cross-attention"
    if getattr(config, "sliding_window", None) is not None:
        return "in a sliding window its keys go out of sight, and these are always seen"
    if not backbone.num_positions_before and getattr(config, "rope_parameters", None) is None:
        return "after it the input begins at a later position, and after this one at position 0"
    return ""


def _moved(backbone: Backbone, module: str, keys: Tensor) -> Tensor:
    """Turn keys (num_kv_heads, num_keys, d_kv) forward, where the input is to begin after them and does not yet."""
    attention = backbone.model.get_submodule(module)
    if backbone.num_positions_before or not getattr(attention, "use_rope", True):
        return keys
    position = torch.tensor([[keys.shape[1]]], device=keys.device)
    cos, sin = backbone.model.base_model.rotary_emb(keys, position)
    rotate = vars(sys.modules[type(attention).__module__])["apply_rotary_pos_emb"]
    moved: Tensor = rotate(keys[None], keys[None], cos, sin)[1][0]
    return moved


def _by_module(backbone: Backbone) -> dict[str, list[tuple[Site, Any]]]:
    """List what was inserted by module, within one by the order of its features."""
    found: dict[str, list[tuple[Site, Any]]] = {}
    for (site, _), module in backbone.inserted.items():
        found.setdefault(site.module, []).append((site, module))
    return {name: sorted(here, key=lambda pair: pair[0].start) for name, here in found.items()}


def _num_outputs(backbone: Backbone, name: str) -> int:
    module = backbone.model.get_submodule(name)
    return int(getattr(module, "nf", 0) or module.out_features)  # GPT-2's Conv1D calls it nf


def write(
    folder: Path, backbone: Backbone, method: str, config: Mapping[str, Any], names: Sequence[str], model: str
) -> str:
    """Write a folder that `peft.PeftModel.from_pretrained` loads.

    Args:
        folder: Where; it is there.
        backbone: With the adapter attached.
        method: Its name.
        config: Its settings.
        names: Full names of its parameters.
        model: Name of the model.

    Returns:
        The peft_type.

    Raises:
        MethodError: peft has no such form.
    """
    fields, tensors = form(backbone, method, names)
    task = "SEQ_2_SEQ_LM" if backbone.is_encoder_decoder else "CAUSAL_LM"
    table = {"base_model_name_or_path": model, "task_type": task, "inference_mode": True, **fields}
    (folder / CONFIG).write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    plain = {name: tensor.detach().float().cpu().contiguous().clone() for name, tensor in tensors.items()}
    note = {"method": method, "config": dict(config), "fingerprint": backbone.fingerprint}
    save_file(plain, folder / TENSORS, metadata={"format": "pt", NOTE: json.dumps(note)})
    return str(fields["peft_type"])
