"""The schedule by hand, and what the optimiser guards: float32 steps, clipped gradients, finite numbers."""

import itertools

import pytest
import torch
from torch import nn

from peftbench.errors import RunError
from peftbench.learners.optimizer import Optimizer, rate
from peftbench.spec.cell import Training


def test_the_rate_rises_over_the_warm_up_and_falls_to_nearly_zero():
    training = Training(lr=1.0, num_steps=8, warmup_ratio=0.375)
    rates = [rate(step, training) for step in range(8)]
    assert rates == pytest.approx([1 / 4, 2 / 4, 3 / 4, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5])


def test_t_fews_schedule_peaks_after_60_of_1000_steps():
    training = Training()
    rates = [rate(step, training) for step in range(1000)]
    assert rates.index(max(rates)) == 60
    assert max(rates) == pytest.approx(3e-3)
    assert min(rates) > 0


def stepped(parameter, gradients, **settings):
    optimizer = Optimizer([parameter], Training(warmup_ratio=0, num_steps=len(gradients), **settings))
    for step, gradient in enumerate(gradients):
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step(step, 1.0)
    return parameter.detach()


def test_half_precision_weights_keep_steps_that_are_too_small_for_them():
    start = torch.ones(4, dtype=torch.bfloat16)
    settings = {"optimizer": "adamw", "lr": 1e-3}
    found = stepped(nn.Parameter(start.clone()), [1.0] * 40, **settings)
    expected = stepped(nn.Parameter(start.float()), [1.0] * 40, **settings)
    assert found.dtype == torch.bfloat16
    assert (found < 0.99).all()
    assert torch.equal(found, expected.bfloat16())


def test_each_step_is_as_long_as_the_schedule_says():
    training = Training(optimizer="adamw", lr=0.1, num_steps=5, warmup_ratio=0.4)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer, places = Optimizer([parameter], training), [0.0]
    for step in range(5):
        parameter.grad = torch.ones(1)
        optimizer.step(step, 1.0)
        places.append(parameter.item())
        assert parameter.grad is None
    # Adam's step under a constant gradient is the rate itself.
    moves = [before - after for before, after in itertools.pairwise(places)]
    assert moves == pytest.approx([rate(step, training) for step in range(5)], rel=1e-4)


def test_adafactor_scales_its_step_by_the_parameter_where_it_is_told_to():
    def moved(**settings):
        return (0.1 - stepped(nn.Parameter(torch.full((4,), 0.1)), [1.0], lr=1e-2, **settings)).max()

    assert moved(scale_parameter=False) == pytest.approx(1e-2, rel=1e-3)
    assert moved(scale_parameter=True) == pytest.approx(0.1 * 1e-2, rel=1e-3)


def test_gradients_are_clipped_to_their_global_norm():
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    optimizer = Optimizer(parameters, Training(max_grad_norm=1.0))
    seen = []
    optimizer._optimizers[0][0].step = lambda: seen.extend(parameter.grad.item() for parameter in parameters)
    for parameter, gradient in zip(parameters, (3.0, 4.0), strict=True):
        parameter.grad = torch.tensor([gradient])
    optimizer.step(0, 1.0)
    assert seen == pytest.approx([0.6, 0.8], rel=1e-4)


@pytest.mark.parametrize(("loss", "gradient"), [(float("nan"), 1.0), (1.0, float("inf"))])
def test_a_number_that_is_not_finite_stops_the_training_before_the_step(loss, gradient):
    parameter = nn.Parameter(torch.ones(2))
    optimizer = Optimizer([parameter], Training(lr=0.5))
    parameter.grad = torch.full((2,), gradient)
    with pytest.raises(RunError, match="step 4") as error:
        optimizer.step(3, loss)
    assert "learning rate (it was 0.5)" in error.value.hint
    assert torch.equal(parameter.detach(), torch.ones(2))


def test_what_never_gets_a_gradient_is_counted_by_value():
    reached, late, none, zero, rounding = (nn.Parameter(torch.ones(size)) for size in (2, 3, 5, 7, 11))
    optimizer = Optimizer([reached, late, none, zero, rounding], Training(lr=1e-3, num_steps=2))
    for step in range(2):
        loss = (reached.sum() + step * late.sum() + 0.0 * zero.sum() + 1e-9 * rounding.sum()).square()
        loss.backward()
        optimizer.step(step, loss.item())
    assert optimizer.num_unreached == 5 + 7 + 11


def test_adamw_in_one_kernel_is_adamw():
    values = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    own, theirs = nn.Parameter(values.clone()), nn.Parameter(values.clone())
    training = Training(optimizer="adamw", lr=1e-2, num_steps=50, weight_decay=0.1, warmup_ratio=0)
    optimizer = Optimizer([own], training)
    reference = torch.optim.AdamW([theirs], weight_decay=0.1, foreach=False)
    for step in range(50):
        own.grad, theirs.grad = (0.1 * torch.sin(values * (step + 1)) for _ in range(2))
        optimizer.step(step, 1.0)
        reference.param_groups[0]["lr"] = rate(step, training)
        reference.step()
    torch.testing.assert_close(own, theirs, rtol=1e-6, atol=1e-6)
