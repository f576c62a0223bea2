"""Muon: momentum whose matrices are made orthogonal before they are applied; at these sizes it beats AdamW.

M <- mu M + G;   W <- W - lr 0.2 sqrt(max(rows, columns)) orthogonal(G + mu M)

torch.optim.Muon computes the orthogonal factor in bfloat16, several times slower than float32 on a CPU without
bfloat16 units; this one keeps the weights' dtype and takes all matrices of one shape in one batched product.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of the Newton-Schulz iteration, from the Muon authors


def orthogonal(matrices: Tensor, num_iterations: int = 5) -> Tensor:
    """Push the singular values of each matrix to about 1 (0.7 to 1.2) and leave its singular vectors.

    Args:
        matrices: (count, rows, columns).
        num_iterations: Newton-Schulz steps.

    Returns:
        Tensor of the same shape.

    Paper: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
    """
    a, b, c = QUINTIC
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    x = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(num_iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if matrices.shape[1] <= matrices.shape[2] else x.mT


class Muon(torch.optim.Optimizer):
    """Step matrices along their orthogonal momentum.

    Args:
        params: Matrices (2-D parameters) of the hidden layers; embeddings and norms belong to AdamW.
        lr: Root-mean-square size of a step times 5, so that one number serves as for AdamW.
        momentum: Share of the momentum that a step keeps (Nesterov's form).
        weight_decay: Decoupled, times lr.

    Paper: the scale 0.2 sqrt(max(rows, columns)) is Liu et al. 2025 (arXiv 2502.16982), section 2.2.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply one step to every parameter that has a gradient."""
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._step_shape(parameters, group)

    def _step_shape(self, parameters: list[Tensor], group: dict[str, float]) -> None:
        directions = []
        for parameter in parameters:
            assert parameter.grad is not None
            buffer = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            buffer.mul_(group["momentum"]).add_(parameter.grad)
            directions.append(parameter.grad + group["momentum"] * buffer)
        scale = 0.2 * max(parameters[0].shape) ** 0.5
        for parameter, update in zip(parameters, orthogonal(torch.stack(directions)), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update, alpha=-group["lr"] * scale)
