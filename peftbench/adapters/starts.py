"""Starting points of tuning: a saved adapter of ours, of the peft library, or a checkpoint of T-Few's authors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peftbench import registry
from peftbench.adapters import saved, t_few
from peftbench.adapters.peft import read as peft
from peftbench.adapters.peft.write import CONFIG
from peftbench.errors import MethodError
from peftbench.methods.parts.peft_adapter import Base
from peftbench.models import class_head, foreign, weights
from peftbench.models.backbone import Backbone
from peftbench.spec.settings import checked


@dataclass(frozen=True)
class Start:
    """A saved adapter from which training starts.

    Args:
        path: An adapter's folder, one of the peft library's, or for (IA)^3 a checkpoint file of T-Few's authors.
        sha256: Checksum of its tensors' file: what counts, wherever it lies.
        method: Name in the registry.
        config: The settings with which `attach` inserts what it holds.
        model: Name of its model, as the user wrote it; None where it does not say.
        fingerprint: Of its model's weights; None where it does not say, and shapes alone decide.
        model_sha256: Of its model's config and tokenizer; None where it does not say.
        tensors: By our names, where they came in another layout; None: they are read when they are needed.
    """

    path: Path
    sha256: str
    method: str
    config: dict[str, Any]
    model: str | None = None
    fingerprint: str | None = None
    model_sha256: str | None = None
    tensors: dict[str, Tensor] | None = field(default=None, compare=False, repr=False)

    def settings(self, method_name: str, requested: Mapping[str, Any]) -> dict[str, Any]:
        """Return the adapter's settings, for a method that is to start from it.

        Args:
            method_name: The method.
            requested: Settings that the user gave; they may repeat the adapter's.

        Raises:
            MethodError: It is an adapter of another method, or has another value of a requested setting.
        """
        if self.method != method_name:
            raise MethodError(
                f"adapter '{self.path}' is one of {self.method}, and {method_name} cannot start from it",
                hint=f"--method {self.method}",
            )
        schema = registry.method(self.method).Config
        wanted = checked(schema, {**self.config, **requested}, f"method '{self.method}'", MethodError)
        table = wanted.model_dump(mode="json")
        for name, setting in schema.model_fields.items():
            # Some settings are left out of a dump at their defaults.
            value, own = table.get(name, setting.default), self.config.get(name, setting.default)
            if value != own:
                raise MethodError(
                    f"adapter '{self.path}' has {name} = {own}, and {name} = {value} was asked for",
                    hint="leave the method's settings out: they come with the adapter",
                )
        return self.config


def read(path: Path, base: Callable[[], Base] | None = None) -> Start:
    """Read a starting point's method, settings and model, and check that it is whole.

    Args:
        path: An adapter's folder, one of the peft library's, or for (IA)^3 a checkpoint file of T-Few's authors.
        base: Describes the model that it is to go on: without that a folder of peft cannot be told what it is.

    Raises:
        MethodError: No adapter there, a damaged one, one of an unknown method, or one of peft's for another model.
        ModelError: The model cannot be found.
    """
    foreign.check_name(str(path), MethodError)
    if path.is_file():
        settings = registry.method(t_few.METHOD).Config().model_dump(mode="json")
        return Start(path, weights.fingerprint([path]), t_few.METHOD, settings, tensors=t_few.read(path))
    if base is not None and (path / CONFIG).exists():
        adapter = peft.read(path, base())
        return Start(
            path=path,
            sha256=adapter.sha256,
            method=adapter.method,
            config=adapter.config,
            model=adapter.model,
            fingerprint=adapter.fingerprint,
            model_sha256=adapter.model_sha256,
            tensors=adapter.tensors,
        )
    card = saved.read(path)
    saved.tensors(path, card)
    method = registry.method(card.method)
    config = checked(method.Config, card.config, f"adapter '{path}'", MethodError)
    finished = method.resume_config(config).model_dump(mode="json")
    return Start(path, card.sha256, card.method, finished, card.model, card.fingerprint, card.model_sha256)


def load(start: Start, backbone: Backbone, names: Sequence[str]) -> None:
    """Copy a saved adapter's values into an attached method, to be trained further.

    Args:
        start: The adapter.
        backbone: With the method attached, with the adapter's settings.
        names: What `attach` returned; the adapter must hold all of them, in their shapes.

    Raises:
        MethodError: It was damaged by now, or is of another model, or its shapes are not those of this one.
    """
    if start.fingerprint is not None:
        saved.check_model(start.path, str(start.model), start.fingerprint, backbone, start.model_sha256)
    stored = start.tensors
    if stored is None:
        stored = saved.tensors(start.path, saved.read(start.path))
        # A classification layer is of its task's classes: each training starts from its own.
        stored = {name: value for name, value in stored.items() if not name.startswith(f"{class_head.NAME}.")}
    values = registry.method(start.method).resume_tensors(backbone, stored)
    targets = {**dict(backbone.model.named_buffers()), **dict(backbone.model.named_parameters())}
    for name in dict.fromkeys((*names, *values)):
        expected, actual = _shape(targets.get(name)), _shape(values.get(name))
        if expected != actual:
            raise MethodError(
                f"'{start.path}' is no starting point for {start.method} on '{backbone.name}': '{name}' is "
                f"{actual} there and {expected} here",
                hint="an adapter fits the model that it was made for",
            )
    backbone.keep(values)
    with torch.no_grad():
        for name, value in values.items():
            targets[name].copy_(value)


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(list(tensor.shape))
