"""`lab build`: train one of the embedded models again, from its TOML and a seed.

While it works, the folder holds `.building/` (what is built, the log, the checkpoint); an interrupted build goes on
from there. The finished folder is an ordinary Hugging Face one, with a model card of measured figures and checksums.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import importlib
import json
import os
import shutil
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from peftbench import registry
from peftbench.errors import ModelError, RunError
from peftbench.lab.text.batches import Material
from peftbench.lab.training.card import model_card
from peftbench.lab.training.induction import plant_induction_heads
from peftbench.lab.training.tokenizer import train_tokenizer
from peftbench.lab.training.train import StepLog, TrainSettings, train

WORK = ".building"
HASHED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def models() -> dict[str, Path]:
    """Name -> TOML of each model that can be built."""
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("mini-*.toml"))}


def build(
    name: str,
    out: Path,
    device: str = "cpu",
    steps: int | None = None,
    report: Callable[[StepLog, int], None] | None = None,
) -> Path:
    """Train the model `name` and write its folder; go on where an interrupted build stopped.

    Args:
        name: One of `models()`.
        out: An empty or new folder, or one that holds an interrupted build of the same thing.
        device: "cpu", "cuda", ...
        steps: Stop after this many steps instead of the TOML's, for a trial.
        report: Gets each step's log and the number of steps; by default a line on stderr.

    Returns:
        `out`.

    Raises:
        ModelError: Unknown name or device; a folder that holds something else, or on a disk without room.
        RunError: The disk filled up while building.
    """
    spec = read_spec(name, steps)
    check_device(device)
    open_folder(out, spec)
    try:
        _build(spec, out, device, report or stderr_progress(name))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise RunError(f"no space left for {out}", hint="make room and type the same command: it goes on") from error
    return out


def read_spec(name: str, steps: int | None = None) -> dict[str, Any]:
    """Read the TOML of the model `name`, with another number of steps if asked."""
    path = models()[registry.known(name, models(), "lab model", ModelError)]
    spec: dict[str, Any] = tomllib.loads(path.read_text(encoding="ascii"))
    if steps is not None:
        spec["train"]["steps"] = steps
    return {"name": name, **spec}


def check_device(device: str) -> None:
    """Check that a tensor can be put on the device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        devices = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        hint = f"here there is: {', '.join(devices)}"
        raise ModelError(f"device '{device}' cannot be used here", hint=hint) from error


def open_folder(out: Path, spec: dict[str, Any]) -> None:
    """Create the folder, or check that it holds an interrupted build of the same thing; check the disk for room."""
    requested = json.dumps(spec, indent=1, sort_keys=True)
    work = out / WORK
    try:
        names = sorted(path.name for path in out.iterdir()) if out.exists() else []
        if names and WORK not in names:
            raise ModelError(f"folder {out} is not empty: it holds {names[0]}", hint="name a new folder with --out")
        if names and (work / "spec.json").exists() and (work / "spec.json").read_text() != requested:
            hint = f"delete {work} to begin anew, or name another folder with --out"
            raise ModelError(f"folder {out} holds an interrupted build of something else", hint=hint)
        work.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(out).free
        if free < spec["min_free_bytes"]:
            hint = f"the build needs {spec['min_free_bytes'] / 1e6:.0f} MB: make room or name another folder"
            raise ModelError(f"{free / 1e6:.0f} MB free for {out}", hint=hint)
        (work / "spec.json").write_text(requested)
    except (PermissionError, NotADirectoryError, FileExistsError, FileNotFoundError) as error:
        raise ModelError(f"folder {out} cannot be written: {error.strerror}", hint="name another with --out") from error


def _build(spec: dict[str, Any], out: Path, device: str, report: Callable[[StepLog, int], None]) -> None:
    settings = train_settings(spec)
    material = _material(spec)
    tokenizer = train_tokenizer(material.corpus, **spec["tokenizer"])
    model = new_model(spec, tokenizer, settings.seed)
    stream = material.stream(tokenizer)
    logs = train(model, stream, settings, out / WORK, device, lambda log: report(log, settings.steps))
    model.to("cpu").eval()
    finish(spec, out, model, tokenizer, logs, material.measure(model, tokenizer))


def train_settings(spec: dict[str, Any]) -> TrainSettings:
    """Read [train]; without a C++ compiler the layers run as they are, and stderr says so."""
    settings = TrainSettings(**spec["train"])
    if settings.compile and not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        sys.stderr.write("no C++ compiler found: training without torch.compile, about a quarter slower\n")
        return dataclasses.replace(settings, compile=False)
    return settings


def _material(spec: dict[str, Any]) -> Material:
    module, _, function = spec["material"].partition(":")
    material = getattr(importlib.import_module(module), function)(spec["data"], TrainSettings(**spec["train"]).seed)
    assert isinstance(material, Material)
    return material


def new_model(spec: dict[str, Any], tokenizer: PreTrainedTokenizerFast, seed: int) -> PreTrainedModel:
    """Make the untrained model: [config] names the architecture and its config's fields, `planted` a head start."""
    fields = dict(spec["config"])
    architecture = getattr(transformers, fields.pop("architecture"))
    torch.manual_seed(seed)
    config = architecture.config_class(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **fields,
    )
    model: PreTrainedModel = architecture(config)
    if spec.get("planted"):
        plant_induction_heads(model, seed)
    return model


def finish(
    spec: dict[str, Any],
    out: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    logs: list[StepLog],
    measured: dict[str, float],
) -> None:
    """Write the folder's files into .building, check that they load, move them up, and remove .building."""
    ready = out / WORK / "model"
    shutil.rmtree(ready, ignore_errors=True)
    model.half().save_pretrained(ready)
    (ready / "generation_config.json").unlink(missing_ok=True)
    tokenizer.save_pretrained(ready)
    check_loads(ready, model)
    (ready / "peftbench.toml").write_text(spec["settings"], encoding="ascii")
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    (ready / "README.md").write_text(model_card(spec, num_parameters, logs, measured), encoding="ascii")
    sums = [f"{hashlib.sha256((ready / name).read_bytes()).hexdigest()}  {name}\n" for name in HASHED]
    (ready / "SHA256SUMS").write_text("".join(sums), encoding="ascii")
    for path in sorted(ready.iterdir()):
        os.replace(path, out / path.name)
    shutil.rmtree(out / WORK)


def check_loads(folder: Path, model: PreTrainedModel) -> None:
    """Check that transformers reads back the weights that were written."""
    reloaded = type(model).from_pretrained(folder, dtype=torch.float16).state_dict()
    for name, tensor in model.state_dict().items():
        if not torch.equal(reloaded[name], tensor):
            raise RunError(f"the weights written to {folder} read back differently in {name}")


def stderr_progress(name: str) -> Callable[[StepLog, int], None]:
    """Show steps, loss, speed and the time left: in place on a terminal, else a line every half minute."""
    live = sys.stderr.isatty()
    last_shown = 0.0

    def report(log: StepLog, num_steps: int) -> None:
        nonlocal last_shown
        now = time.monotonic()
        last = log.step + 1 == num_steps
        if not last and now - last_shown < (0.5 if live else 30.0):
            return
        last_shown = now
        minutes = (num_steps - log.step - 1) * log.seconds / 60
        text = (
            f"{name}  step {log.step + 1}/{num_steps}  loss {log.loss:.3f}  "
            f"{log.num_tokens / log.seconds:,.0f} tokens/s  about {minutes:.0f} min left"
        )
        sys.stderr.write(f"\r{text}   " + ("\n" if last else "") if live else f"{text}\n")
        sys.stderr.flush()

    return report
