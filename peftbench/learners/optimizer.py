"""The optimiser of tuning: Adafactor or AdamW, a linear schedule, clipped gradients, float32 throughout."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from peftbench.errors import RunError
from peftbench.learners.adafactor import Adafactor
from peftbench.spec.cell import Training

ROUNDING = 1e-6
"""Share of the largest gradient below which one is rounding error: that of a key's bias is zero in exact arithmetic."""


def warmup(training: Training) -> int:
    """Count the steps in which the learning rate rises."""
    return round(training.warmup_ratio * training.num_steps)


def rate(step: int, training: Training) -> float:
    """Return a step's learning rate: linearly up to lr over the warm-up, then linearly down towards zero.

    Args:
        step: Counted from 0.
        training: lr, num_steps and warmup_ratio.

    Differs: the authors' first step has rate zero and is lost; here the rate is above zero in all steps.
    """
    num_warmup = warmup(training)
    if step < num_warmup:
        return training.lr * (step + 1) / (num_warmup + 1)
    return training.lr * (training.num_steps - step) / (training.num_steps - num_warmup)


class Optimizer:
    """Steps parameters by their gradients.

    Half-precision parameters (full fine-tuning) are stepped as float32 copies, since small steps would be rounded away.

    Args:
        parameters: What is trained.
        training: Its settings.
        backbone: The model's own among them, which take `backbone_lr`.
        apart: Whether each tensor's gradient is clipped by itself, since each is a model of its own: an ensemble's.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        training: Training,
        *,
        backbone: Iterable[nn.Parameter] = (),
        apart: bool = False,
    ) -> None:
        self._training = training
        own = {id(parameter) for parameter in backbone}
        self._parameters = list(parameters)
        self._copies = [
            parameter if parameter.dtype == torch.float32 else nn.Parameter(parameter.detach().float())
            for parameter in self._parameters
        ]
        self._clipped = [[copy] for copy in self._copies] if apart else [self._copies]
        pairs = list(zip(self._parameters, self._copies, strict=True))
        self._optimizers = [
            (_optimizer(copies, training), share)
            for copies, share in (
                ([copy for parameter, copy in pairs if id(parameter) not in own], 1.0),
                ([copy for parameter, copy in pairs if id(parameter) in own], training.backbone_lr / training.lr),
            )
            if copies
        ]
        self._unreached = set(range(len(self._copies)))

    @property
    def num_unreached(self) -> int:
        """Number of values in tensors that no step so far had a gradient for; rounding errors are none."""
        return sum(self._copies[index].numel() for index in self._unreached)

    def step(self, step: int, loss: float) -> None:
        """Take one step and clear the gradients.

        Args:
            step: Counted from 0.
            loss: What the gradients are of.

        Raises:
            RunError: The loss or a gradient is not finite; nothing is stepped.
        """
        for parameter, copy in zip(self._parameters, self._copies, strict=True):
            if copy is not parameter:
                copy.grad = None if parameter.grad is None else parameter.grad.float()
        norms = [float(nn.utils.clip_grad_norm_(tensors, self._training.max_grad_norm)) for tensors in self._clipped]
        norm = math.fsum(norms)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise RunError(
                f"training broke at step {step + 1}: loss {loss:.4g}, gradient norm {norm:.4g}",
                hint=f"a lower learning rate (it was {self._training.lr:g}), or --dtype float32 if it was another",
            )
        self._note_reached()
        for optimizer, share in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * rate(step, self._training)
            optimizer.step()
        self._write_back()

    @torch.no_grad()
    def _note_reached(self) -> None:
        """Look at the gradients of tensors that had none yet."""
        if not self._unreached:
            return
        grads = {index: copy.grad for index, copy in enumerate(self._copies) if copy.grad is not None and copy.numel()}
        if not grads:
            return
        norms = torch._foreach_norm(list(grads.values()), torch.inf)
        largest = dict(zip(grads, torch.stack([norm.to(norms[0].device) for norm in norms]).tolist(), strict=True))
        floor = ROUNDING * max(largest.values())
        self._unreached -= {index for index, size in largest.items() if size > floor}

    @torch.no_grad()
    def _write_back(self) -> None:
        for parameter, copy in zip(self._parameters, self._copies, strict=True):
            parameter.grad = copy.grad = None
            if copy is not parameter:
                parameter.copy_(copy)


def _optimizer(parameters: list[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    if training.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=training.lr, weight_decay=training.weight_decay, fused=True)
    return Adafactor(
        parameters, training.lr, weight_decay=training.weight_decay, scale_parameter=training.scale_parameter
    )
