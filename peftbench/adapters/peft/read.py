"""Folders of the peft library as starting points: the same function, in the shapes of our methods.

Which method starts from which peft_type, each method's file says (`PEFT`). What changes what peft computes and has no
place here is refused by its name.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from peftbench import registry
from peftbench.adapters.peft import folder
from peftbench.adapters.peft.write import TENSORS
from peftbench.errors import MethodError
from peftbench.methods.base import Method
from peftbench.methods.parts.peft_adapter import Base, PeftAdapter
from peftbench.models import rotary, source, weights
from peftbench.models.load import read_config
from peftbench.spec.settings import checked


@dataclass(frozen=True)
class Contents:
    """What a folder holds, in our terms.

    Args:
        method: Name in the registry.
        config: Its settings.
        tensors: Full name of our parameter -> float32 values.
        sha256: Of the file of tensors.
        model: As the folder names it.
        fingerprint: Of the model's weights, where this package wrote the folder.
        model_sha256: Of the model's config and tokenizer, where this package wrote it and the model is not embedded.
    """

    method: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    sha256: str
    model: str | None
    fingerprint: str | None
    model_sha256: str | None


def describe(name: str, revision: str | None = None, allow_pickle: bool = False) -> Base:
    """Read a model's sites from its config.

    Raises:
        ModelError: Nothing of that name, or an unknown family.
    """
    config = read_config(source.find(name, revision, allow_pickle))
    family = registry.family(config.model_type)
    sizes = family.sizes(config)
    return Base(name, sizes.is_encoder_decoder, sizes.gated, rotary.is_rotary(config), family.sites(sizes))


def read(path: Path, base: Base) -> Contents:
    """Read a folder of the peft library.

    Args:
        path: Holds adapter_config.json and adapter_model.safetensors.
        base: The model that it is to go on.

    Raises:
        MethodError: Damaged, of a form that no method has, or not for this model.
    """
    fields = folder.fields(path)
    kind, readers = fields.get("peft_type"), _readers()
    if kind not in readers:
        raise MethodError(
            f"peft adapter '{path}' is of peft_type {str(kind)[:60]}, which no method here starts from",
            hint=f"possible: {', '.join(readers)}",
        )
    tensors, note = folder.tensors(path)
    method = readers[kind]
    own = None  # the settings that it had here, if it was one of this method
    if note.method == method.name:
        config = checked(method.Config, note.config, f"note in '{path / TENSORS}'", MethodError)
        own = config.model_dump(mode="json")
    adapter = PeftAdapter(path, fields, tensors, own or {}, base)
    folder.check(adapter)
    assert method.PEFT is not None
    assert method.PEFT.read is not None
    ours = method.PEFT.read(adapter)
    digest = weights.fingerprint([path / TENSORS])
    model = fields.get("base_model_name_or_path")
    return Contents(method.name, ours.config, ours.tensors, digest, model, note.fingerprint, note.model_sha256)


def _readers() -> dict[str, Method]:
    """List by peft_type the methods that start from it."""
    methods = [registry.method(name) for name in registry.METHODS]
    return {kind: method for method in methods if method.PEFT is not None for kind in method.PEFT.types}
