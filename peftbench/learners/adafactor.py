"""Adafactor for many small tensors: those of one shape are stepped as one stacked tensor.

    v_t = b_t v_{t-1} + (1 - b_t) (g_t^2 + 1e-30)       b_t = 1 - t^-0.8
    u_t = g_t / sqrt(v_t)
    theta_t = (1 - decay a_t) theta_{t-1} - a_t u_t / max(1, RMS(u_t))
    a_t = lr max(1e-3, RMS(theta_{t-1})), or lr where steps are not scaled by the parameter

Of a matrix v is not kept but estimated, from running means r over its columns and c over its rows: v_ij = r_i c_j /
mean(r). There is no momentum, and no rate that depends on the step: T-Few sets both so.

Paper: 1804.04235, algorithms 4 and 5.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

EPSILON, MIN_SCALE = 1e-30, 1e-3
DECAY = -0.8
MAX_STACKED = 2**17
"""Values that are stacked at most; measured: above it, copies cost what calls do. A larger tensor is not copied."""


@dataclass
class Stack:
    """Parameters of one shape, and the running means of their squared gradients.

    Args:
        parameters: At least one.
        step: Steps taken.
        means: Of a matrix (n, rows) and (n, columns), else (n, *shape); empty before the first step.
    """

    parameters: list[nn.Parameter]
    step: int = 0
    means: list[Tensor] = field(default_factory=list)

    def take(self, indices: Sequence[int]) -> "Stack":
        """Return some of the parameters, with their running means."""
        means = [mean[list(indices)] for mean in self.means]
        return Stack([self.parameters[index] for index in indices], self.step, means)

    def estimate(self, grad: Tensor) -> list[Tensor]:
        """Add a gradient (n, *shape) to the running means, and return factors whose product is 1 / sqrt(v)."""
        self.step += 1
        weight = float(self.step) ** DECAY  # 1 - b_t
        square = grad.square()
        news = [square.mean(-1), square.mean(-2)] if grad.dim() > 2 else [square]
        news = [new.add_(EPSILON) for new in news]
        known = zip(self.means, news, strict=True) if self.means else ()
        self.means = [mean.lerp_(new, weight) for mean, new in known] or news
        if len(self.means) == 1:
            return [self.means[0].rsqrt()]
        rows, columns = self.means
        return [(rows / rows.mean(-1, keepdim=True)).rsqrt_()[..., None], columns.rsqrt()[..., None, :]]


class Adafactor(torch.optim.Optimizer):
    """Steps parameters by their gradients; a parameter without a gradient is left as it is.

    Args:
        parameters: float32.
        lr: Learning rate.
        weight_decay: Share of the step by which parameters shrink.
        scale_parameter: Whether steps are scaled by the parameter's root mean square.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, *, weight_decay: float, scale_parameter: bool
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "scale_parameter": scale_parameter})
        self._stacks = list(_stacks(self.param_groups[0]["params"]))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step; the gradients are used up."""
        self._stacks = [part for stack in self._stacks for part in _apart(stack)]
        for stack in self._stacks:
            if stack.parameters[0].grad is not None:
                self._step(stack, **{name: self.param_groups[0][name] for name in self.defaults})

    def _step(self, stack: Stack, lr: float, weight_decay: float, scale_parameter: bool) -> None:
        parameters = list[Tensor](stack.parameters)
        grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
        is_alone = len(parameters) == 1
        grad = grads[0][None] if is_alone else torch.stack(grads)  # (n, *shape)
        first, *more = stack.estimate(grad)
        update = grad.mul_(first)
        for factor in more:
            update *= factor
        root = parameters[0].numel() ** 0.5
        rates = torch.full((len(parameters),), lr, device=grad.device)  # (n,)
        if scale_parameter:
            rates *= (torch.stack(torch._foreach_norm(parameters)) / root).clamp_(min=MIN_SCALE)
        scale = rates / (torch.linalg.vector_norm(update.view(len(update), -1), dim=1) / root).clamp_(min=1.0)
        if weight_decay:
            torch._foreach_mul_(parameters, (1 - weight_decay * rates).unbind())
        if is_alone:
            parameters[0].addcmul_(update[0], scale[0], value=-1)
            return
        update *= scale.view(-1, *[1] * (update.dim() - 1))
        torch._foreach_sub_(parameters, update.unbind())


def _stacks(parameters: Sequence[nn.Parameter]) -> Iterator[Stack]:
    """Put parameters of one shape and device together, as many as are worth a copy."""
    alike: dict[tuple[torch.Size, torch.device], list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        if parameter.numel():
            alike[parameter.shape, parameter.device].append(parameter)
    for (shape, _), members in alike.items():
        size = max(1, MAX_STACKED // shape.numel())
        yield from (Stack(members[first : first + size]) for first in range(0, len(members), size))


def _apart(stack: Stack) -> list[Stack]:
    """Part those that have a gradient from those that have none, since these take no step."""
    having = [index for index, parameter in enumerate(stack.parameters) if parameter.grad is not None]
    if len(having) in (0, len(stack.parameters)):
        return [stack]
    lacking = [index for index in range(len(stack.parameters)) if index not in set(having)]
    return [stack.take(having), stack.take(lacking)]
