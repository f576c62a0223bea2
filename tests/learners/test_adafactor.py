"""Adafactor of stacked tensors against the one in transformers, which steps each tensor by itself."""

import itertools

import pytest
import torch
from torch import nn
from transformers.optimization import Adafactor as Reference

from peftbench.learners import adafactor
from peftbench.learners.adafactor import Adafactor
from peftbench.learners.optimizer import Optimizer, rate
from peftbench.spec.cell import Training

SHAPES = [(5, 7)] * 3 + [(6,)] * 2 + [(3, 4, 2)] * 2 + [(9, 1), (), (0, 3)]
LARGEST = adafactor.MAX_STACKED


def parameters():
    generator = torch.Generator().manual_seed(0)
    sizes = itertools.cycle([1.0, 1e-2, 0.0])  # a parameter of zeros is stepped by the least scale
    return [
        nn.Parameter(size * torch.randn(shape, generator=generator)) for size, shape in zip(sizes, SHAPES, strict=False)
    ]


def gradients(step):
    """Draw gradients of any size, some of them zero; from time to time a parameter has none."""
    generator = torch.Generator().manual_seed(step)
    for number, shape in enumerate(SHAPES):
        size = 10.0 ** (step % 5 - 2) * (number != 4)
        yield None if (step + number) % 50 == 3 else size * torch.randn(shape, generator=generator)


@pytest.mark.parametrize(
    ("scale_parameter", "weight_decay", "most"), [(True, 0, LARGEST), (False, 0, 80), (True, 0.1, 1), (False, 0.1, 80)]
)
def test_200_steps_are_those_of_transformers(scale_parameter, weight_decay, most, monkeypatch):
    monkeypatch.setattr(adafactor, "MAX_STACKED", most)
    settings = {"weight_decay": weight_decay, "scale_parameter": scale_parameter}
    training = Training(lr=3e-3, num_steps=200, **settings)
    own, theirs = parameters(), parameters()
    optimizer = Optimizer(own, training)
    reference = Reference(theirs, lr=3e-3, relative_step=False, **settings)
    for step in range(200):
        for parameter, other, gradient in zip(own, theirs, gradients(step), strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
            other.grad = gradient
        optimizer.step(step, 1.0)
        nn.utils.clip_grad_norm_(theirs, training.max_grad_norm)
        reference.param_groups[0]["lr"] = rate(step, training)
        reference.step()
    assert (own[0] - parameters()[0]).abs().mean().item() > 1e-3
    for parameter, other in zip(own, theirs, strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-6, atol=1e-6)


def test_a_parameter_without_a_gradient_neither_moves_nor_ages():
    lazy, busy = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Adafactor([lazy, busy], 0.1, weight_decay=0.1, scale_parameter=False)
    for _ in range(3):
        busy.grad = torch.ones(3)
        optimizer.step()
    assert torch.equal(lazy.detach(), torch.ones(3))
    assert {stack.step for stack in optimizer._stacks} == {0, 3}


def test_one_shape_is_one_stack_up_to_a_size():
    many = [nn.Parameter(torch.ones(64, 64)) for _ in range(40)]
    stacks = Adafactor(many, 0.1, weight_decay=0.0, scale_parameter=True)._stacks
    assert [len(stack.parameters) for stack in stacks] == [32, 8]
