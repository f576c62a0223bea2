"""Placement: which of a model's modules stand on which device, where it is spread over several (`--device-map`).

accelerate puts a hook around each module of the map, which moves what goes in to where the module's weights are. So a
layer, whose parts add up, stands on one device, and so do the embeddings, which are added up too.
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.models.shapes import Layer
from peftbench.spec.packages import require

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Placement = dict[str, torch.device]
"""Full name of a module, "" of the whole model -> where it stands, and all that is in it."""

INFERRED = ("auto", "balanced")
"""Maps that accelerate makes: layers in turn, about as many bytes on each GPU."""
OFFLOADED = ("cpu", "disk")


def find(name: str) -> torch.device:
    """Find the device of a name; "auto" is a GPU where there is one.

    Raises:
        ModelError: There is none of that name.
    """
    if name == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = foreign.line(str(error).splitlines()[0])
        hint = "auto, cpu, cuda, cuda:0, mps"
        raise ModelError(f"device '{foreign.line(name)}' cannot be used: {reason}", hint=hint) from None
    return device


def check(device_map: str, device: str) -> None:
    """Find what keeps any model from being spread.

    Args:
        device_map: "auto", "balanced", or a JSON file of module -> device.
        device: As it was asked for beside the map.

    Raises:
        ModelError: A device beside the map, or one of several processes that would each take all GPUs.
        MethodError: accelerate is not installed.
    """
    if device != "auto":
        message = f"--device {device} and --device-map {device_map} both say where the model stands"
        raise ModelError(message, hint="one of them")
    world_size = os.environ.get("WORLD_SIZE", "")
    if world_size not in ("", "0", "1"):
        message = f"WORLD_SIZE={world_size} is set: each of so many processes would spread the model over all GPUs"
        hint = "--device-map is for one process: WORLD_SIZE=1 peftbench ...; for many cells a process and --device each"
        raise ModelError(message, hint=hint)
    require("accelerate", "devices", f"--device-map {device_map}")


def plan(device_map: str, model: "PreTrainedModel", layers: Sequence[Layer]) -> Placement:
    """Choose or read where each module goes.

    Args:
        device_map: As in `check`.
        model: Which may be on the meta device.
        layers: Of the model.

    Raises:
        ModelError: The model does not fit the GPUs, or a map cannot be used.
    """
    if device_map in INFERRED:
        table = _inferred(model)
        away = sorted({str(device) for device in table.values()}.intersection(OFFLOADED))
        if away and len(set(table.values())) > 1:
            message = f"the model does not fit the GPUs: --device-map {device_map} leaves parts to the {away[0]}"
            hint = "more or larger GPUs, or --dtype bfloat16; what methods change must be on a GPU while it is used"
            raise ModelError(message, hint=hint)
        return _placed(table, model, layers, f"--device-map {device_map}")
    return _placed(foreign.read_object(Path(device_map)), model, layers, f"device map '{device_map}'")


def dispatch(model: "PreTrainedModel", placement: Placement, *, force_hooks: bool = False) -> None:
    """Move a model's modules to their devices, and let what goes into them follow.

    Args:
        model: With this package's attention.
        placement: Of all its modules.
        force_hooks: Put hooks there for one device, too.
    """
    from accelerate import dispatch_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that are in no module, such as BART's bias of words
        dispatch_model(
            model,
            device_map=dict(placement),
            main_device=_place(placement, _name(model, model.get_input_embeddings())),
            skip_keys=model._skip_keys_device_placement,
            force_hooks=force_hooks,
        )


def release(model: nn.Module) -> None:
    """Take out the hooks; the modules stay where they are."""
    from accelerate.hooks import remove_hook_from_submodules

    remove_hook_from_submodules(model)


def of(module: nn.Module, default: torch.device) -> torch.device:
    """Return the device of a module's own weights."""
    return next((parameter.device for parameter in module.parameters()), default)


def distinct(tensors: Iterable[torch.Tensor]) -> tuple[torch.device, ...]:
    """List the devices of tensors, each once, in their order."""
    return tuple(dict.fromkeys(tensor.device for tensor in tensors))


def _inferred(model: "PreTrainedModel") -> dict[str, Any]:
    from accelerate.utils import get_balanced_memory, infer_auto_device_map

    whole = sorted(model._no_split_modules or ())
    memory = get_balanced_memory(model, no_split_module_classes=whole)
    return dict(infer_auto_device_map(model, max_memory=memory, no_split_module_classes=whole))


def _placed(table: Mapping[str, Any], model: "PreTrainedModel", layers: Sequence[Layer], what: str) -> Placement:
    """Check a map against a model, all faults at once."""
    faults = [*_of_names(table, model, layers), *_of_devices(table)]
    if not faults:
        placement = {name: find(_written(device)) for name, device in table.items()}
        faults = list(_of_neighbours(placement, model, layers))
    if faults:
        text = foreign.line("; ".join(faults))
        hint = 'a JSON object such as {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": 1, ...}'
        raise ModelError(f"{what} cannot be used: {text}", hint=hint)
    return placement


def _of_names(table: Mapping[str, Any], model: nn.Module, layers: Sequence[Layer]) -> Iterator[str]:
    names = {name for name, _ in model.named_modules()} | set(model.state_dict())
    for name in table:
        layer = next((layer.module for layer in layers if name.startswith(f"{layer.module}.")), None)
        if name not in names:
            yield f"the model has no module '{name}'"
        elif layer is not None:
            yield f"'{name}' is a part of '{layer}', which stands on one device"
    missing = [name for name, _ in model.named_parameters() if _place(table, name) is None]
    if missing:
        yield f"it places {len(missing)} tensors nowhere: {', '.join(missing[:3])}{', ...' if missing[3:] else ''}"


def _of_devices(table: Mapping[str, Any]) -> Iterator[str]:
    """List devices that are none, and those from which layers are moved away between uses."""
    devices = [_written(device) for device in dict.fromkeys(map(str, table.values()))]
    if "disk" in devices or ("cpu" in devices and len(devices) > 1):
        away = "disk" if "disk" in devices else "cpu"
        yield f"modules on '{away}' are fetched for each use, and what methods put there would see no weights"
        return
    for device in devices:
        try:
            find(device)
        except ModelError as error:
            yield error.message


def _of_neighbours(placement: Placement, model: "PreTrainedModel", layers: Sequence[Layer]) -> Iterator[str]:
    """List embeddings that stand apart from each other, or from a head that is the same tensor."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    first, is_tied = _name(model, embeddings), head.weight is embeddings.weight
    inside = tuple(f"{layer.module}." for layer in layers)
    for name, module in model.named_modules(remove_duplicate=False):
        belongs = isinstance(module, nn.Embedding) or (is_tied and module is head)
        if belongs and not name.startswith(inside) and _place(placement, name) != _place(placement, first):
            yield f"'{name}' and '{first}' stand on two devices"


def _place(table: Mapping[str, Any], name: str) -> Any:
    """Return where a module or tensor goes: by the longest name that it is in; None where the table does not say."""
    while name and name not in table:
        name = name.rpartition(".")[0]
    return table.get(name)


def _name(model: nn.Module, module: nn.Module) -> str:
    return next(name for name, candidate in model.named_modules() if candidate is module)


def _written(device: Any) -> str:
    """Write a device as torch knows it; a number is that of a GPU."""
    return f"cuda:{device}" if str(device).isdecimal() else str(device)
