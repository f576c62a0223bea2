"""The Fastfood projection: a long random vector out of a short one, without the random matrix in memory.

    V theta = H G Pi H B [theta; 0] / (|g| sqrt(D))          theta: (d) -> V theta: (D)

B: random signs, Pi: a random permutation, G = diag(g): Gaussian, H: the Walsh-Hadamard matrix of 2^ceil(log2 max(d, D))
rows. The factor makes V an isometry in expectation: |V theta| = |theta|. O(D log D), in plain torch.

Shapes:
    d         length of the trained vector
    D         weights of one parameter of the model
    length    2^ceil(log2 max(d, D)), rows of H
    head      2^ceil(log2 d): B acts on so many, since [theta; 0] repeats its transform behind them
"""

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional

from peftbench.errors import MethodError
from peftbench.methods.parts.reference import Reference
from peftbench.models.backbone import Backbone

FACTOR = 64
"""Rows of the small Hadamard matrices whose Kronecker product is the long one: fewer passes over memory than additions
of pairs take."""


@functools.cache
def matrix(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Build the Walsh-Hadamard matrix of +-1 entries, (length, length); length is a power of two."""
    signs = torch.ones(1, 1)
    while len(signs) < length:
        signs = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), signs)
    return signs.to(device, dtype)


@torch.library.custom_op("peftbench::hadamard", mutates_args=())
def hadamard(x: Tensor) -> Tensor:
    """Multiply (length) by the Walsh-Hadamard matrix of +-1 entries; length is a power of two.

    That is length log2(length) additions, and no matmul by the conventions of costs, though small ones are what is run:
    one operator, so that a trace counts it so.
    """
    x, width = x.clone(), 1
    while width < len(x):
        factor = min(FACTOR, len(x) // width)
        signs = matrix(factor, x.dtype, x.device)
        # (length / factor, factor), then (length / (factor width), factor, width): neighbours, then blocks of `width`
        x = (x.view(-1, factor) @ signs if width == 1 else signs @ x.view(-1, factor, width)).flatten()
        width *= factor
    return x


hadamard.register_fake(torch.empty_like)
hadamard.register_autograd(lambda _, gradient: hadamard(gradient))  # the matrix is its own transpose


class Fastfood(nn.Module):
    """One random projection.

    Args:
        d: Length of what goes in.
        D: Length of what comes out.
        seed: Of the signs, the permutation and the Gaussian: equal seeds give the same projection.
        device: Where.
    """

    def __init__(self, d: int, D: int, seed: int, device: torch.device) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        length, head = _power_of_two(max(d, D)), _power_of_two(d)
        signs = 2 * torch.randint(0, 2, (length,), generator=generator) - 1
        permutation = torch.randperm(length, generator=generator)
        self.gaussian = torch.randn(length, generator=generator).to(device)
        # Zeros behind a vector whose length is a power of two only repeat its transform: no more than one is needed.
        self.signs, self.permutation = signs[:head].float().to(device), (permutation % head).to(device)
        self.scale, self.D = 1 / (self.gaussian.norm() * D**0.5), D

    def forward(self, theta: Tensor) -> Tensor:
        """Project theta (d) to V theta (D)."""
        padded = functional.pad(self.scale * theta, (0, len(self.signs) - len(theta)))  # (d) -> (head)
        permuted = hadamard(padded * self.signs).index_select(0, self.permutation)  # (head) -> (length)
        return hadamard(permuted * self.gaussian)[: self.D]  # (length) -> (D)


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


class Shift(nn.Module):
    """The shift of one of the model's parameters: weight + lambda V theta.

    Args:
        theta: (d); it is registered in the model, as the scales are.
        project: V, from d to the parameter's number of weights.
        scales: (layers), or None for lambda = 1.
        index: Which of the scales.
    """

    def __init__(self, theta: nn.Parameter, project: Fastfood, scales: nn.Parameter | None, index: int) -> None:
        super().__init__()
        self._trained, self._project, self._index = Reference((theta, scales)), Reference(project), index

    def forward(self, weight: Tensor) -> Tensor:
        """Compute the shifted weight, in its shape."""
        theta, scales = self._trained.target
        scaled = theta if scales is None else scales[self._index] * theta  # of the two, the shorter vector
        return weight + self._project.target(scaled.to(weight.device)).view(weight.shape)


def shift_all(
    backbone: Backbone,
    theta: nn.Parameter,
    seed: int,
    scales: nn.Parameter | None = None,
    groups: list[int] | None = None,
) -> None:
    """Shift all of the model's parameters by projections of theta, each with one of its own.

    Args:
        backbone: Where.
        theta: (d), trained.
        seed: Of the first projection; the others' follow.
        scales: lambda, one per group.
        groups: The group of each parameter.

    Raises:
        MethodError: theta is longer than the parameters are together.
    """
    if len(theta) > backbone.num_parameters:
        raise MethodError(
            f"intrinsic_dimension = {len(theta):,} is more than the model's own {backbone.num_parameters:,} dimensions",
            hint="`--method full` trains them all",
        )
    for index, name in enumerate(backbone.base_names):
        weight = backbone.model.get_parameter(name)
        project = Fastfood(len(theta), weight.numel(), seed + index, weight.device)
        backbone.overlay(name, Shift(theta, project, scales, groups[index] if groups else 0))
