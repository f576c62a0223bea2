"""A method's adapters in the layout of the peft library: how they are written, and how they are read.

A method module offers `PEFT = PeftForm(...)`, or nothing where peft computes nothing like it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.methods.parts.peft_adapter import PeftAdapter
from peftbench.models.backbone import SOFT_PROMPT, Backbone
from peftbench.models.shapes import Site

PREFIX = "base_model.model."
"""Where peft has the model: before the names of its modules' tensors."""


@dataclass(frozen=True)
class Exported:
    """What peft is given of an adapter.

    Args:
        fields: Of adapter_config.json, "peft_type" among them.
        tensors: By peft's names.
    """

    fields: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Imported:
    """What a method here starts from.

    Args:
        config: The method's settings.
        tensors: Full name of our parameter -> float32 values.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class PeftForm:
    """A method's form in the peft library.

    Args:
        write: Takes a backbone with the adapter attached, and nothing else, and the full names of its parameters; None
            where peft has no form for these settings. It raises MethodError where it knows a better reason.
        types: The peft_types that `read` takes.
        read: Takes an adapter of peft's; raises MethodError where it computes what the method does not.
    """

    write: Callable[[Backbone, Sequence[str]], Exported | None]
    types: tuple[str, ...] = ()
    read: Callable[[PeftAdapter], Imported] | None = None


def outside(backbone: Backbone, names: Sequence[str]) -> list[str]:
    """List the parameters that lie in no module which was inserted at a site or as a prefix."""
    owners = {f"{site.module}.{name}" for site, name in backbone.inserted}
    owners |= {f"{block.module}.prefix" for block in backbone.prefixes}
    return [name for name in names if name.rpartition(".")[0] not in owners]


def by_module(backbone: Backbone) -> dict[str, list[tuple[Site, Any]]]:
    """List what was inserted: full name of a layer -> its sites and modules, in the order of the sites' features."""
    layers: dict[str, list[tuple[Site, Any]]] = {}
    for (site, _), module in backbone.inserted.items():
        layers.setdefault(site.module, []).append((site, module))
    return {name: sorted(inserted, key=lambda pair: pair[0].start) for name, inserted in layers.items()}


def num_outputs(backbone: Backbone, name: str) -> int:
    """Count the features that a linear layer gives."""
    module = backbone.model.get_submodule(name)
    return int(module.out_features if isinstance(module, nn.Linear) else module.nf)  # GPT-2's Conv1D calls it nf


def low_rank(backbone: Backbone, factors: Callable[[Any], tuple[Tensor, Tensor, float]]) -> Exported:
    """Write updates as LORA, one pair of factors a layer; where it holds several sites, their factors side by side.

    Args:
        backbone: With low-rank modules at its sites, and nothing else.
        factors: An inserted module -> B (features, rank), A (rank, in_features), and the scale of B A.

    Raises:
        MethodError: No module has a rank.
    """
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for name, inserted in by_module(backbone).items():
        pieces = [(site, *factors(module)) for site, module in inserted]
        rank = sum(len(a) for _, _, a, _ in pieces)
        if not rank:  # AdaLoRA may keep nothing of a layer, and peft takes no rank of 0
            continue
        b = torch.zeros(num_outputs(backbone, name), rank)  # (out_features, sum of ranks), zeros across sites
        start = 0
        for site, left, a, _ in pieces:
            b[site.index, start : start + len(a)] = left
            start += len(a)
        tensors[f"{PREFIX}{name}.lora_A.weight"] = torch.cat([a for _, _, a, _ in pieces])
        tensors[f"{PREFIX}{name}.lora_B.weight"] = b
        ranks[name], alphas[name] = rank, pieces[0][3] * rank
    if not ranks:
        raise MethodError(
            "this adapter has kept no value of any layer: the model with it is the model without",
            hint="train it for longer, or use the model as it is",
        )
    fields: dict[str, Any] = {"peft_type": "LORA", "target_modules": list(ranks), "lora_dropout": 0.0, "bias": "none"}
    fields |= {"r": max(ranks.values()), "lora_alpha": max(alphas.values())}
    if len(set(ranks.values())) > 1:  # peft's patterns are regular expressions
        fields["rank_pattern"] = {name.replace(".", r"\."): rank for name, rank in ranks.items()}
        fields["alpha_pattern"] = {name.replace(".", r"\."): alpha for name, alpha in alphas.items()}
    return Exported(fields, tensors)


def soft_prompt(backbone: Backbone, names: Sequence[str]) -> Exported | None:
    """Write one soft prompt as PROMPT_TUNING; an ensemble has no form.

    For encoder-decoders peft keeps a second half of rows that it never uses.
    """
    if list(names) != [f"{SOFT_PROMPT}.P"]:
        return None
    assert backbone.soft_prompt is not None
    prompt: Tensor = backbone.soft_prompt()  # (num_virtual_tokens, d_model)
    fields = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": len(prompt), "token_dim": prompt.shape[1]}
    fields["num_transformer_submodules"] = 2 if backbone.is_encoder_decoder else 1
    if backbone.is_encoder_decoder:
        prompt = torch.cat((prompt, torch.zeros_like(prompt)))
    return Exported(fields, {"prompt_embeddings": prompt})
