"""Adapters on disk: a folder with adapter.safetensors (what was trained) and adapter.json (how to put it back)."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.methods.base import MethodConfig
from peftbench.models import class_head, foreign, weights
from peftbench.models.backbone import Backbone
from peftbench.spec import limits
from peftbench.spec.settings import checked
from peftbench.store import files
from peftbench.store.seal import FIELD, broken, sealed

FORMAT_VERSION = 2
"""Version 1 had no digest."""
AGAIN = "copy it again, or tune again with --force"
TENSORS, CARD = "adapter.safetensors", "adapter.json"


class Card(BaseModel):
    """The contents of adapter.json.

    Args:
        config: The method's settings.
        model: Name of the model as the user wrote it; `fingerprint` is what counts.
        model_sha256: Of its config and tokenizer; None for embedded models, and where the adapter does not say it.
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
    model_sha256: str | None = None
    parameters: dict[str, tuple[int, ...]]
    sha256: str


def save(
    folder: Path,
    backbone: Backbone,
    method_name: str,
    config: MethodConfig,
    names: Sequence[str],
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write the parameters `names` and how they were made; the folder is there whole or not at all.

    Args:
        folder: Where; an adapter that is there is replaced.
        backbone: With the method attached.
        method_name: As in the registry.
        config: The method's settings.
        names: What `attach` returned, or what the method made of it when training ended.
        beside: Name -> text of what lies beside them.

    Raises:
        MethodError: The folder cannot be written.
    """
    values = {name: value.detach().cpu().contiguous() for name, value in backbone.tensors_named(names).items()}
    try:
        with files.replacing_folder(folder) as temporary:
            save_file(values, temporary / TENSORS, metadata={"format": "pt"})
            card = Card(
                method=method_name,
                config=config.model_dump(mode="json"),
                model=backbone.name,
                revision=backbone.revision,
                fingerprint=backbone.fingerprint,
                model_sha256=backbone.model_sha256,
                parameters={name: tuple(value.shape) for name, value in values.items()},
                sha256=weights.fingerprint([temporary / TENSORS]),
            )
            for name, text in {CARD: sealed(card.model_dump_json(indent=2)), **(beside or {})}.items():
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
    check_model(folder, card.model, card.fingerprint, backbone, card.model_sha256)
    config = checked(registry.method(card.method).Config, card.config, f"adapter '{folder}'", MethodError)
    return attach(backbone, card.method, config, card.parameters, tensors(folder, card), folder)


def attach(
    backbone: Backbone,
    method_name: str,
    config: MethodConfig,
    shapes: Mapping[str, tuple[int, ...]],
    values: Mapping[str, Tensor],
    folder: Path,
) -> list[str]:
    """Attach a method as it was when training had ended, and copy its parameters in.

    Args:
        backbone: With nothing attached.
        method_name: As in the registry.
        config: The method's settings.
        shapes: Full name -> shape of all that was trained, in the order in which the method gave them.
        values: Full name -> tensor of the same.
        folder: The adapter's, for messages.

    Returns:
        Names of the parameters, as the method's `attach` gave them.

    Raises:
        MethodError: They are not those of the method and its settings.
    """
    head = {name: shape for name, shape in shapes.items() if name.startswith(f"{class_head.NAME}.")}
    head_names = backbone.set_classes(_num_classes(folder, head)) if head else []
    own = {name: shape for name, shape in shapes.items() if name not in head}
    names = registry.method(method_name).restore(backbone, config, own)
    own_names = [name for name in backbone.base_names if name in shapes]  # of a model that was trained, too
    names = list(dict.fromkeys([*names, *head_names, *own_names]))
    _copy(folder, backbone, names, values)
    return names


def _num_classes(folder: Path, head: Mapping[str, tuple[int, ...]]) -> int:
    """Count the classes of a saved classification layer: the length of its only vector."""
    lengths = {shape[0] for shape in head.values() if len(shape) == 1}
    if len(lengths) != 1 or min(lengths) > limits.MAX_CHOICES:
        raise _damaged(folder / CARD, "its classification layer has no number of classes")
    return lengths.pop()


def read(folder: Path) -> Card:
    """Read an adapter's card; no tensor is touched.

    Raises:
        MethodError: No adapter there, a damaged card, or one of a later format.
    """
    path = folder / CARD
    foreign.check_name(str(folder), MethodError)
    try:
        text = path.read_text(encoding="utf-8")
        table = json.loads(text)
        version = table["format_version"]
        if version not in range(1, FORMAT_VERSION + 1):
            raise MethodError(
                f"adapter '{folder}' has format {version}, this peftbench reads up to {FORMAT_VERSION}",
                hint="update peftbench",
            )
        if fault := broken(text, table, is_needed=version > 1):
            raise MethodError(f"adapter file '{path}' {fault}", hint=AGAIN)
        table.pop(FIELD, None)
        return Card.model_validate(table)
    except OSError:
        why = f"it has no {CARD}" if folder.exists() else "there is no such folder"
        inside = next(iter(sorted(folder.glob(f"*/{CARD}"))), None)
        hint = f"one of those in it: {inside.parent}" if inside else "give a folder that `peftbench tune` wrote"
        raise MethodError(f"'{folder}' is no adapter: {why}", hint=hint) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        faults = f"{error.error_count()} faulty fields" if isinstance(error, ValidationError) else "no such JSON"
        raise _damaged(path, faults) from None


def tensors(folder: Path, card: Card) -> dict[str, Tensor]:
    """Read an adapter's tensors: full name -> values.

    Raises:
        MethodError: The file is missing or damaged.
    """
    path = folder / TENSORS
    try:
        if weights.fingerprint([path]) != card.sha256:
            raise _damaged(path, "its checksum is not the one in adapter.json")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path, str(error)) from None


def check_model(
    folder: Path, model: str, fingerprint: str, backbone: Backbone, model_sha256: str | None = None
) -> None:
    """Refuse an adapter of another model.

    Args:
        folder: The adapter's.
        model: Name of its model.
        fingerprint: Of its model's weights.
        backbone: The model that it is to go on.
        model_sha256: Of its model's config and tokenizer; None where it does not say.

    Raises:
        MethodError: Their weights differ, or where both say it their configs or tokenizers.
    """
    if fingerprint != backbone.fingerprint:
        raise MethodError(
            f"adapter '{folder}' was made for the model '{model}' (weights {fingerprint[:12]}), "
            f"and '{backbone.name}' has other weights ({backbone.fingerprint[:12]})",
            hint=f"use it with --model {model}",
        )
    if not backbone.has_config(model_sha256):
        raise MethodError(
            f"adapter '{folder}' was made for another config.json or tokenizer than '{backbone.name}' has now",
            hint="--model NAME says where the model is as it was; or tune again",
        )


@torch.no_grad()
def _copy(folder: Path, backbone: Backbone, names: Sequence[str], values: Mapping[str, Tensor]) -> None:
    targets = backbone.tensors_named(names)
    expected = {name: target.shape for name, target in targets.items()}
    if expected != {name: value.shape for name, value in values.items()}:
        backbone.detach_all()
        raise _damaged(folder / TENSORS, "its tensors are not those of its method and settings")
    backbone.keep(names)
    for name, target in targets.items():
        target.copy_(values[name])


def _damaged(path: Path, why: str) -> MethodError:
    return MethodError(f"adapter file '{path}' is damaged: {why}", hint=AGAIN)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Write a folder for other programs whole: yield a temporary one, which becomes `out` when the block ends well.

    Raises:
        MethodError: `out` is there already, or cannot be written.
    """
    if os.path.lexists(out):
        raise MethodError(f"'{out}' is there already", hint="remove it, or give another folder")
    try:
        with files.new_folder(out) as temporary:
            yield temporary
    except FileExistsError:
        raise MethodError(f"'{out}' is there already: it came up meanwhile", hint="give another folder") from None
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MethodError(f"cannot write '{out}': {reason}", hint="nothing half-written stays") from None
