"""The trainer of the lab's models: any transformers model, any stream of batches, seeded and resumable.

Hidden matrices take Muon, all else AdamW; the learning rate warms up, stays, and falls to zero in a straight line. A
step's randomness depends on the seed and the step's number alone, so a run that was killed and resumed has the losses
of one that was not.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from peftbench import registry
from peftbench.lab.text.batches import Batch, Stream
from peftbench.lab.training.muon import Muon


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained.

    Args:
        steps: Optimiser steps.
        warmup_steps: Steps in which the learning rates rise from zero.
        decay_share: Last share of the steps, in which they fall to zero.
        matrix_lr: Muon's, for the hidden matrices.
        other_lr: AdamW's, for embeddings, norms and biases.
        weight_decay: Decoupled, for the hidden matrices.
        grad_norm: Gradients are clipped to this norm.
        seed: Of weights, batches and dropout.
        checkpoint_seconds: Time between checkpoints.
        compile: Whether torch compiles the layers, which needs a C++ compiler and makes a step a quarter faster.
    """

    steps: int
    warmup_steps: int = 50
    decay_share: float = 0.3
    matrix_lr: float = 2e-3
    other_lr: float = 3e-3
    weight_decay: float = 0.01
    grad_norm: float = 1.0
    seed: int = 0
    checkpoint_seconds: float = 60.0
    compile: bool = False


@dataclass(frozen=True)
class StepLog:
    """One step: its loss (nats a token, weighted), its tokens without padding, its wall seconds."""

    step: int
    loss: float
    num_tokens: int
    seconds: float


def train(
    model: nn.Module,
    stream: Stream,
    settings: TrainSettings,
    folder: Path,
    device: str = "cpu",
    report: Callable[[StepLog], None] = lambda log: None,
) -> list[StepLog]:
    """Train model in place; go on from the checkpoint in folder if there is one.

    Args:
        model: Its forward takes a batch's `inputs` and returns `.logits`.
        stream: Step's number -> micro-batches.
        settings: How.
        folder: Gets `checkpoint.pt` and `log.jsonl`.
        device: Where to compute; on a GPU the forward pass runs in bfloat16, the weights stay float32.
        report: Called after each step.

    Returns:
        One entry a step, those before a kill included.
    """
    model.to(device).train()
    optimizers = make_optimizers(model, settings)
    logs = load_checkpoint(model, optimizers, folder, device)
    body = body_of(model)
    body = torch.compile(body, dynamic=True) if settings.compile else body
    last_saved = time.monotonic()
    for step in range(len(logs), settings.steps):
        torch.manual_seed(settings.seed * 1_000_003 + step)
        start = time.perf_counter()
        loss, num_tokens = _step(model, body, optimizers, stream(step), settings, step, device)
        logs.append(StepLog(step, loss, num_tokens, time.perf_counter() - start))
        report(logs[-1])
        if time.monotonic() - last_saved > settings.checkpoint_seconds or step + 1 == settings.steps:
            save_checkpoint(model, optimizers, logs, folder)
            last_saved = time.monotonic()
    return logs


def make_optimizers(model: nn.Module, settings: TrainSettings) -> list[torch.optim.Optimizer]:
    """Make Muon for the hidden matrices and AdamW for everything else."""
    outer = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    head = getattr(model, "lm_head", None)
    outer |= {id(p) for p in head.parameters()} if isinstance(head, nn.Module) else set()
    matrices = [(name, p) for name, p in model.named_parameters() if p.ndim == 2 and id(p) not in outer]
    outer_parameters = [p for p in model.parameters() if p.ndim != 2 or id(p) in outer]
    # T5 folds attention's 1 / sqrt(d_kv) into its query matrices, which are that much smaller; full steps would make
    # every attention one-hot within a hundred of them, and nothing would be learned from the input any more.
    d_kv = getattr(model.config, "d_kv", None)
    small = [p for name, p in matrices if d_kv and name.endswith("Attention.q.weight")]
    groups = [{"params": [p for _, p in matrices if all(p is not q for q in small)], "share": 1.0}]
    if d_kv and small:
        groups.append({"params": small, "share": d_kv**-0.5})
    return [
        Muon(groups, lr=settings.matrix_lr, weight_decay=settings.weight_decay),
        torch.optim.AdamW(outer_parameters, lr=settings.other_lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def lr_factor(step: int, settings: TrainSettings) -> float:
    """Return the share of the full learning rate at a step: warm-up, plateau, linear fall to zero."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    left = (settings.steps - step) / max(1.0, settings.decay_share * settings.steps)
    return min(warm, left)


def body_of(model: Any) -> Callable[..., Any]:
    """Return the part that runs on all positions: all of an encoder-decoder, else the layers without the head."""
    body: Callable[..., Any] = model if model.config.is_encoder_decoder else model.base_model
    return body


def _step(
    model: nn.Module,
    body: Callable[..., Any],
    optimizers: list[torch.optim.Optimizer],
    batches: list[Batch],
    settings: TrainSettings,
    step: int,
    device: str,
) -> tuple[float, int]:
    total_weight = sum(float(batch.weights.sum()) for batch in batches)
    loss_sum = 0.0
    for batch in batches:
        loss = weighted_loss(model, batch, device, body) / total_weight
        loss.backward()
        loss_sum += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), settings.grad_norm)
    full = (settings.matrix_lr, settings.other_lr)
    for optimizer, lr in zip(optimizers, full, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = lr * lr_factor(step, settings) * group.get("share", 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss_sum, sum(batch.num_tokens for batch in batches)


def weighted_loss(model: Any, batch: Batch, device: str, body: Callable[..., Any] | None = None) -> Tensor:
    """Return the sum over positions of weight x cross-entropy, in nats.

    The head of a decoder or an encoder runs on the positions with a loss only: in an episode one token in ten has one.

    Args:
        model: What `body` belongs to.
        batch: One forward pass.
        device: Where to compute.
        body: A compiled form of `body_of(model)`.
    """
    keep = (batch.weights > 0).to(device)
    inputs = {name: tensor.to(device) for name, tensor in batch.inputs.items()}
    with torch.autocast(device_type=device.split(":")[0], dtype=torch.bfloat16, enabled=device != "cpu"):
        out = (body_of(model) if body is None else body)(**inputs, use_cache=False)
        logits = out.logits[keep] if model.config.is_encoder_decoder else _head(model, out.last_hidden_state[keep])
    losses = nn.functional.cross_entropy(logits.float(), batch.targets.to(device)[keep], reduction="none")
    return (losses * batch.weights.to(device)[keep]).sum()


def _head(model: Any, hidden: Tensor) -> Tensor:
    return registry.family(model.config.model_type).head(model, hidden)


def save_checkpoint(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], logs: list[StepLog], folder: Path
) -> None:
    """Write `log.jsonl` and `checkpoint.pt`, each whole or not at all; the checkpoint's step rules over the log."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(asdict(log)) + "\n" for log in logs)
    (folder / "log.jsonl.part").write_text(text)
    os.replace(folder / "log.jsonl.part", folder / "log.jsonl")
    state: dict[str, Any] = {"model": model.state_dict(), "num_steps": len(logs)}
    state["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
    buffer = io.BytesIO()  # torch.save to a path turns a full disk into a RuntimeError without its cause
    torch.save(state, buffer)
    (folder / "checkpoint.pt.part").write_bytes(buffer.getvalue())
    os.replace(folder / "checkpoint.pt.part", folder / "checkpoint.pt")


def load_checkpoint(
    model: nn.Module, optimizers: list[torch.optim.Optimizer], folder: Path, device: str
) -> list[StepLog]:
    """Load what `save_checkpoint` wrote; return the log of the steps done, empty without a checkpoint."""
    if not (folder / "checkpoint.pt").exists():
        return []
    state = torch.load(folder / "checkpoint.pt", map_location=device, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [StepLog(**json.loads(line)) for line in lines[: state["num_steps"]]]
