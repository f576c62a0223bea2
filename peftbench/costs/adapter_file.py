"""What tuning will write, before it is written: the method attached to a model that has shapes and no weights.

A safetensors file is 8 bytes, a header of JSON that is filled up to a multiple of 8, and the tensors.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig

from peftbench import registry
from peftbench.costs.describe import Described
from peftbench.errors import CostError
from peftbench.methods.base import MethodConfig
from peftbench.methods.stages import Stages
from peftbench.models import attention, foreign
from peftbench.models.backbone import Backbone
from peftbench.models.load import auto_class, quiet

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}


@dataclass(frozen=True)
class Written:
    """An adapter on disk.

    Args:
        file_bytes: Of the safetensors file, its header included.
        tensor_bytes: Of the tensors in it.
    """

    file_bytes: int
    tensor_bytes: int


def without_weights(model: Described, dtype: str) -> Backbone:
    """Build a model on the meta device: names and shapes of all parameters, and no memory for their values."""
    with quiet(), torch.device("meta"), foreign.reading(Path(model.name), CostError, hint="check its config.json"):
        config = AutoConfig.for_model(**model.shape.config)
        body = auto_class(model.shape.sizes).from_config(
            config, attn_implementation=attention.NAME, dtype=getattr(torch, dtype)
        )
        if not model.shape.tied:  # transformers 5 ties T5's head whatever its config says
            body.get_output_embeddings().weight = nn.Parameter(torch.empty_like(body.get_input_embeddings().weight))
    return Backbone(
        name=model.name,
        revision=None,
        fingerprint="",
        model=body,
        tokenizer=_one_token,
        family=registry.family(config.model_type),
    )


def _one_token(*_text: Any, **_options: Any) -> Any:
    """Stand in for a tokenizer: which tokens a prompt starts from does not change its size."""
    return SimpleNamespace(input_ids=[0])


def written(backbone: Backbone, name: str, config: MethodConfig) -> Written | None:
    """Count what an adapter will take up.

    Args:
        backbone: Without weights.
        name: Of the method.
        config: Its settings.

    Returns:
        None where training decides which tensors are left.
    """
    method = registry.method(name)
    try:
        with torch.device("meta"):
            names = method.attach(backbone, config)
            names = Stages(method, backbone, config, names).finish()
        tensors = backbone.tensors_named(names)
        return Written(safetensors_bytes(tensors), sum(map(_size, tensors.values())))
    except (RuntimeError, NotImplementedError):  # torch's, where a value decides and there are none
        return None
    finally:
        backbone.detach_all()


def safetensors_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Count the bytes of a safetensors file of these tensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        stop = start + _size(tensor)
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    return 8 + 8 * math.ceil(len(text.encode()) / 8) + start


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
