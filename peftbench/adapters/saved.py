"""Adapters on disk: a folder with adapter.safetensors (what was trained) and adapter.json (how to put it back)."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from peftbench import registry
from peftbench.adapters import t_few
from peftbench.adapters.peft import read as peft_import
from peftbench.adapters.peft import write
from peftbench.errors import MethodError
from peftbench.methods.base import MethodConfig
from peftbench.models import weights
from peftbench.models.backbone import Backbone
from peftbench.spec.settings import checked

FORMAT_VERSION = 1
TENSORS, CARD = "adapter.safetensors", "adapter.json"


class Card(BaseModel):
    """The contents of adapter.json.

    Args:
        config: The method's settings.
        model: Name of the model as the user wrote it; `fingerprint` is what counts.
        parameters: Full name -> shape, in the order in which the method gave them.
        sha256: Checksum of adapter.safetensors.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    method: str
    config: dict[str, Any]
    model: str
    revision: str | None
    fingerprint: str
    parameters: dict[str, tuple[int, ...]]
    sha256: str


def save(
    folder: Path,
    backbone: Backbone,
    method_name: str,
    config: MethodConfig,
    names: Sequence[str],
    files: Mapping[str, str] | None = None,
) -> Path:
    """Write the parameters `names` and how they were made; the folder is there whole or not at all.

    Args:
        folder: Where; an adapter that is there is replaced.
        backbone: With the method attached.
        method_name: As in the registry.
        config: The method's settings.
        names: What `attach` returned, or what the method made of it when training ended.
        files: Name -> text of what lies beside them.

    Raises:
        MethodError: The folder cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in backbone.tensors_named(names).items()}
    try:
        with _replacing(folder) as temporary:
            save_file(tensors, temporary / TENSORS, metadata={"format": "pt"})
            card = Card(
                method=method_name,
                config=config.model_dump(mode="json"),
                model=backbone.name,
                revision=backbone.revision,
                fingerprint=backbone.fingerprint,
                parameters={name: tuple(tensor.shape) for name, tensor in tensors.items()},
                sha256=weights.fingerprint([temporary / TENSORS]),
            )
            for name, text in {CARD: card.model_dump_json(indent=2) + "\n", **(files or {})}.items():
                (temporary / name).write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise MethodError(f"cannot write adapter '{folder}': {error}", hint="nothing half-written was left") from None
    return folder


def load(folder: Path, backbone: Backbone) -> list[str]:
    """Attach a saved method and copy its parameters in.

    Returns:
        Names of the parameters, as `attach` gave them.

    Raises:
        MethodError: No adapter there, one that is damaged, or one that was made for another model.
    """
    card = read(folder)
    _check_model(folder, card.model, card.fingerprint, backbone)
    method = registry.method(card.method)
    config = checked(method.Config, card.config, f"adapter '{folder}'", MethodError)
    tensors = _tensors(folder, card)
    names = method.restore(backbone, config, card.parameters)
    _copy(folder, backbone, names, tensors)
    return names


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
        tensors: By our names, where they came in another layout; None: they are read when they are needed.
    """

    path: Path
    sha256: str
    method: str
    config: dict[str, Any]
    model: str | None = None
    fingerprint: str | None = None
    tensors: dict[str, Tensor] | None = field(default=None, compare=False, repr=False)

    def settings(self, method_name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Give its settings, for a method that is to start from it.

        Args:
            method_name: The method.
            asked: Settings that were asked for; there is room for those that it has.

        Raises:
            MethodError: It is an adapter of another method, or has another setting than was asked for.
        """
        if self.method != method_name:
            raise MethodError(
                f"adapter '{self.path}' is one of {self.method}, and {method_name} cannot start from it",
                hint=f"--method {self.method}",
            )
        schema = registry.method(self.method).Config
        wanted = checked(schema, {**self.config, **asked}, f"method '{self.method}'", MethodError)
        told = wanted.model_dump(mode="json")
        for name, field_of in schema.model_fields.items():  # some are not told at their defaults
            value, has = (table.get(name, field_of.default) for table in (told, self.config))
            if value != has:
                raise MethodError(
                    f"adapter '{self.path}' has {name} = {has}, and {name} = {value} was asked for",
                    hint="leave the method's settings out: they come with the adapter",
                )
        return self.config


def starting_point(path: Path, base: Callable[[], peft_import.Base] | None = None) -> Start:
    """Read what a starting point says of itself, and check that it is whole.

    Args:
        path: An adapter's folder, one of the peft library's, or for (IA)^3 a checkpoint file of T-Few's authors.
        base: Describes the model that it is to go on: without that a folder of peft cannot be told what it is.

    Raises:
        MethodError: No adapter there, a damaged one, one of an unknown method, or one of peft's for another model.
        ModelError: The model cannot be found.
    """
    if path.is_file():
        settings = registry.method(t_few.METHOD).Config().model_dump(mode="json")
        return Start(path, weights.fingerprint([path]), t_few.METHOD, settings, tensors=t_few.read(path))
    if base is not None and (path / write.CONFIG).exists():
        held = peft_import.read(path, base())
        return Start(path, held.sha256, held.method, held.config, held.model, held.fingerprint, held.tensors)
    card = read(path)
    _tensors(path, card)
    method = registry.method(card.method)
    config = checked(method.Config, card.config, f"adapter '{path}'", MethodError)
    finished = method.resume_config(config).model_dump(mode="json")
    return Start(path, card.sha256, card.method, finished, card.model, card.fingerprint)


def start_from(start: Start, backbone: Backbone, names: Sequence[str]) -> None:
    """Give an attached method the values of a saved adapter, to be trained further.

    Args:
        start: The adapter.
        backbone: With the method attached, with the adapter's settings.
        names: What `attach` returned; the adapter must hold all of them, in their shapes.

    Raises:
        MethodError: It was damaged by now, or is of another model, or its shapes are not those of this one.
    """
    if start.fingerprint is not None:
        _check_model(start.path, str(start.model), start.fingerprint, backbone)
    held = _tensors(start.path, read(start.path)) if start.tensors is None else start.tensors
    tensors = registry.method(start.method).resume_tensors(backbone, held)
    there = {**dict(backbone.model.named_buffers()), **dict(backbone.model.named_parameters())}
    needed = {**dict.fromkeys(names), **dict.fromkeys(tensors)}
    for name in needed:
        here, saved = (tuple(table[name].shape) if name in table else None for table in (there, tensors))
        if here != saved:
            raise MethodError(
                f"'{start.path}' is no starting point for {start.method} on '{backbone.name}': '{name}' is "
                f"{_shape(saved)} there and {_shape(here)} here",
                hint="an adapter fits the model that it was made for",
            )
    backbone.keep(tensors)
    with torch.no_grad():
        for name, tensor in tensors.items():
            there[name].copy_(tensor)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))


def _check_model(folder: Path, model: str, fingerprint: str, backbone: Backbone) -> None:
    if fingerprint != backbone.fingerprint:
        raise MethodError(
            f"adapter '{folder}' was made for the model '{model}' (weights {fingerprint[:12]}), "
            f"and '{backbone.name}' has other weights ({backbone.fingerprint[:12]})",
            hint=f"use it with --model {model}",
        )


def read(folder: Path) -> Card:
    """Read an adapter's card; no tensor is touched.

    Raises:
        MethodError: No adapter there, a damaged card, or one of a later format.
    """
    path = folder / CARD
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        version = table["format_version"]
        if version != FORMAT_VERSION:
            found = f"adapter '{folder}' has format {version}, this peftbench reads {FORMAT_VERSION}"
            raise MethodError(found, hint="update peftbench")
        return Card.model_validate(table)
    except OSError:
        why = f"it has no {CARD}" if folder.exists() else "there is no such folder"
        hint = "give a folder that `peftbench tune` wrote"
        raise MethodError(f"'{folder}' is no adapter: {why}", hint=hint) from None
    except (ValueError, KeyError, TypeError) as error:
        faults = f"{error.error_count()} faulty fields" if isinstance(error, ValidationError) else "no such JSON"
        raise _damaged(path, faults) from None


def _tensors(folder: Path, card: Card) -> dict[str, Tensor]:
    path = folder / TENSORS
    try:
        if weights.fingerprint([path]) != card.sha256:
            raise _damaged(path, "its checksum is not the one in adapter.json")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, str(error)) from None


@torch.no_grad()
def _copy(folder: Path, backbone: Backbone, names: Sequence[str], tensors: dict[str, Tensor]) -> None:
    targets = backbone.tensors_named(names)
    here = {name: target.shape for name, target in targets.items()}
    if here != {name: tensor.shape for name, tensor in tensors.items()}:
        backbone.detach_all()
        raise _damaged(folder / TENSORS, "its tensors are not those of its method and settings")
    backbone.keep(names)
    for name, target in targets.items():
        target.copy_(tensors[name])


def _damaged(path: Path, why: str) -> MethodError:
    return MethodError(f"adapter file '{path}' is damaged: {why}", hint="copy it again, or tune again with --force")


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the place of `folder` when the block ends well, and goes away otherwise."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    old = temporary.with_suffix(".old")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if folder.exists():
            os.replace(folder, old)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
