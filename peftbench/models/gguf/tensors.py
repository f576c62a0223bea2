"""A GGUF file's weights: dequantised, under the names of transformers and in its layout."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from peftbench.errors import ModelError
from peftbench.models import attention, foreign
from peftbench.models.gguf.config import ROPE, architecture
from peftbench.models.gguf.header import Header, library, read_tensor

FIT = "header and weights must be of one model"


def model(header: Header, config: Any, dtype: torch.dtype) -> PreTrainedModel:
    """Build the model of a config with the weights of the file.

    Raises:
        ModelError: The weights are not exactly those of the config's model, or cannot be dequantised.
    """
    with foreign.reading(header.path, fault="holds no model that can be loaded", hint=FIT):
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        names = _names(header, empty)
        _check(header, empty, names)
        tensors = {ours: _tensor(header, name, config, dtype) for name, ours in names.items()}
        built: PreTrainedModel = type(empty).from_pretrained(
            None, config=config, state_dict=tensors, dtype=dtype, attn_implementation=attention.NAME
        )
        built.name_or_path = str(header.path)
        return built


def _names(header: Header, empty: PreTrainedModel) -> dict[str, str]:
    """Map each tensor's name in the file to the model's; those that the model has no place for are left out."""
    gguf = library()
    kinds = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}
    table = gguf.get_tensor_name_map(kinds[header.architecture], empty.config.num_hidden_layers)
    names = {}
    for ours, _ in empty.named_parameters():
        stem, _, end = ours.rpartition(".")
        names[f"{table.get_name(stem)}.{end}"] = ours
    return {name: names[name] for name in header.tensors if name in names}


def _check(header: Header, empty: PreTrainedModel, names: dict[str, str]) -> None:
    """Refuse what `load` refuses of a folder: tensors that are missing, too many, or of another shape."""
    shapes = {name: tuple(parameter.shape) for name, parameter in empty.named_parameters()}
    wrong = {
        "missing": sorted(shapes.keys() - set(names.values())),
        "unexpected": sorted(header.tensors.keys() - names.keys() - {ROPE}),
        "mismatched": sorted(name for name, ours in names.items() if header.tensors[name].shape != shapes[ours]),
    }
    faults = [
        f"{kind}: {', '.join(tensors[:3])}{', ...' if tensors[3:] else ''}"
        for kind, tensors in wrong.items()
        if tensors
    ]
    if faults:
        what = foreign.line("; ".join(faults))
        raise ModelError(f"the weights in '{header.path}' do not fit its header ({what})", hint=FIT)


def _tensor(header: Header, name: str, config: Any, dtype: torch.dtype) -> Tensor:
    """Dequantise a tensor of the file, and lay it out as transformers does."""
    tensor = torch.from_numpy(read_tensor(header, name))
    if architecture(header).paired and name.endswith((".attn_q.weight", ".attn_k.weight")):
        tensor = halves(tensor, config.head_dim)
    return tensor.to(dtype)


def halves(weight: Tensor, d_kv: int) -> Tensor:
    """Lay out the rows of q or k by halves.

    Rotary positions turn features two by two. llama.cpp takes neighbours, and so the rows of a head lie in the file as
    0, d_kv / 2, 1, d_kv / 2 + 1, ...; transformers takes feature i and i + d_kv / 2.

    Args:
        weight: (heads * d_kv, d_model)
        d_kv: Features of a head.
    """
    return weight.unflatten(0, (-1, d_kv // 2, 2)).transpose(1, 2).flatten(0, 2).contiguous()
