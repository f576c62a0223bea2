"""Diff pruning: a change of all weights that is pushed to be sparse while it is learned, and then cut.

    theta + z * w          z = min(1, max(0, 3 sigmoid(logit(u) + alpha) - 1.5))      u ~ U(0, 1)
    L + l0_weight * mean P(z > 0)                                                     P(z > 0) = sigmoid(alpha)

z are hard-concrete gates, one per weight, and a weight is changed only where the gate of its group (its parameter) is
open too: z is the product of both. After (1 - fixed_share) of the steps the target_ratio largest changes are kept, and
trained on without gates. They are what is saved, with their places.

Paper: 2012.07463, section 3.
Differs: the paper's penalty counts the changes that are likely, P(z > 0) times that of their group's gate; the authors'
    code adds up all gates, groups' beside weights'; this one adds the share of the one and the share of the other, so
    that its weight does not depend on the model's size. The paper's gates learn at a rate of their own, a thousand
    times that of w and more; with one optimiser for all, alpha is alpha_rate times a parameter here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import places, sparse
from peftbench.methods.parts.reference import Reference
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

PAPER = "2012.07463, section 3"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
# w starts at zero, where scale_parameter would shrink its steps.
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}

NAME = "diff_pruning"
LOW, HIGH = -1.5, 1.5


class Config(MethodConfig):
    """Settings of diff pruning.

    Args:
        target_ratio: Share of all weights that is changed in the end; the paper's is 0.005.
        l0_weight: Weight of the penalty.
        alpha_init: What the gates start from; the paper's 5 has nearly all of them open. At 0 and below all are shut
            in use, and another adapter's values could not be started from.
        alpha_rate: How much faster alpha learns than w.
        fixed_share: Share of the steps, at the end, in which the kept changes are trained without gates.
    """

    target_ratio: float = Field(0.005, gt=0, le=1)
    l0_weight: float = Field(1.0, ge=0)
    alpha_init: float = Field(5.0, gt=0)
    alpha_rate: float = Field(5.0, gt=0)
    fixed_share: float = Field(0.3, ge=0, lt=1)


class Diff(nn.Module):
    """The trained values: a change w and a gate per weight, and a gate per group (parameter of the model).

    Args:
        counts: (groups) int64: how many weights each of the model's parameters has.
        config: Where the gates start, and their rate.
    """

    counts: Tensor
    noise: Tensor
    group_noise: Tensor
    kept: Tensor

    def __init__(self, counts: Tensor, config: Config) -> None:
        super().__init__()
        num_weights, num_groups = int(counts.sum()), len(counts)
        self.w = nn.Parameter(torch.zeros(num_weights))
        start = config.alpha_init / config.alpha_rate
        self.alpha = nn.Parameter(torch.full((num_weights,), start))
        self.group_alpha = nn.Parameter(torch.full((num_groups,), start))
        self.rate = config.alpha_rate
        self.register_buffer("counts", counts)
        self.register_buffer("noise", torch.zeros(num_weights))
        self.register_buffer("group_noise", torch.zeros(num_groups))
        self.register_buffer("kept", torch.zeros(0, dtype=torch.bool))  # empty while the gates are there
        self._sizes: list[int] = counts.tolist()
        self._parts: tuple[Tensor, ...] = ()
        self._made_of: Any = None

    def change(self, group: int) -> Tensor:
        """Compute z * w of one parameter of the model, flat; in eval mode z is at its median, u = 1/2."""
        # All parts come of one operator, whose gradient is one vector: each slice of its own would fill one.
        state = self._state()
        if self._made_of != state:
            changes = self._weights_change()
            if changes.requires_grad:
                changes.register_hook(self._forget)
            self._parts, self._made_of = changes.split(self._sizes), state
        if len(self.kept):
            return self._parts[group]
        noise = self.group_noise[group] if self.training else 0.0
        return self._parts[group] * _gate(self.rate * self.group_alpha[group] + noise)

    def _weights_change(self) -> Tensor:
        """Compute w times the weights' own gates, (weights); the gates of groups come later."""
        if len(self.kept):
            return self.w * self.kept
        return self.w * _gate(self.rate * self.alpha + (self.noise if self.training else 0.0))

    def _state(self) -> Any:
        tensors = (self.w, self.alpha, self.noise, self.kept)
        return self.training, torch.is_grad_enabled(), [(tensor.data_ptr(), tensor._version) for tensor in tensors]

    def _forget(self, gradient: Tensor) -> None:
        """Drop the parts: a backward pass has been through them."""
        self._parts, self._made_of = (), None

    def open_share(self) -> Tensor:
        """Compute the mean probability that a weight's gate is open, plus that of a group's gate."""
        return (self.rate * self.alpha).sigmoid().mean() + (self.rate * self.group_alpha).sigmoid().mean()

    def draw(self) -> None:
        """Draw u anew for each gate; all uses within a step see the same."""
        for noise in (self.noise, self.group_noise):
            noise.copy_(torch.rand_like(noise).clamp(1e-6, 1 - 1e-6).logit())


class Changed(nn.Module):
    """The change of one parameter of the model.

    Args:
        diff: The whole change; it is registered in the model.
        group: The parameter's index.
    """

    def __init__(self, diff: Diff, group: int) -> None:
        super().__init__()
        self._diff, self._group = Reference(diff), group

    def forward(self, weight: Tensor) -> Tensor:
        """Compute weight + z * w, in its shape."""
        return weight + self._diff.target.change(self._group).to(weight.device).view(weight.shape)


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Overlay all of the model's weights with a gated change.

    Raises:
        MethodError: target_ratio of the model's weights is less than one.
    """
    if not int(config.target_ratio * backbone.num_parameters):
        raise MethodError(
            f"target_ratio = {config.target_ratio:g} of {backbone.num_parameters:,} weights is none",
            hint=f"such as {2 / backbone.num_parameters:.1g}",
        )
    names = backbone.base_names
    counts = [backbone.model.get_parameter(name).numel() for name in names]
    diff = Diff(torch.tensor(counts), config)
    diff.draw()
    backbone.adopt(NAME, diff)
    for group, name in enumerate(names):
        backbone.overlay(name, Changed(diff, group))
    return [f"{NAME}.{part}" for part in ("w", "alpha", "group_alpha")]


@torch.no_grad()
def resume_tensors(backbone: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Divide the saved change by the gates, which are all where they start: (k) values -> w (weights)."""
    diff = _diff(backbone)
    gates = _gate(diff.rate * diff.alpha) * _gate(diff.rate * diff.group_alpha).repeat_interleave(diff.counts)
    chosen = tensors[f"{NAME}.places"]  # (k) of (weights)
    change = torch.zeros_like(diff.w)
    change[chosen] = tensors[f"{NAME}.values"].to(change) / gates[chosen]
    return {f"{NAME}.w": change, f"{NAME}.alpha": diff.alpha.clone(), f"{NAME}.group_alpha": diff.group_alpha.clone()}


def penalty(backbone: Backbone, config: Config) -> Tensor:
    """Compute l0_weight times the expected shares of open gates, of weights and of groups."""
    return config.l0_weight * _diff(backbone).open_share()


@torch.no_grad()
def after_step(backbone: Backbone, config: Config, step: int, num_steps: int) -> None:
    """Draw the gates of the next step, or cut to the largest changes when it is time."""
    diff = _diff(backbone)
    if step + 1 < num_steps * (1 - config.fixed_share):
        diff.draw()
    elif not len(diff.kept):
        _cut(diff, config)


@torch.no_grad()
def finish(backbone: Backbone, config: Config) -> list[str]:
    """Replace gates and changes by a sparse change: the kept values and their places."""
    diff = _diff(backbone)
    if not len(diff.kept):
        _cut(diff, config)
    chosen = diff.kept.nonzero()[:, 0]
    values = diff.w[chosen]
    backbone.take_out()
    sparse.overlay(backbone, NAME, chosen)
    backbone.model.get_parameter(f"{NAME}.values").copy_(values)
    return sparse.saved(NAME)


def restore(backbone: Backbone, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Overlay the model with a sparse change of as many weights as were saved."""
    return sparse.restore(backbone, NAME, shapes)


def added(sizes: Sizes, config: Config) -> Added:
    """Leave the count open: two numbers for each of the model's weights, whose number the sizes do not tell."""
    return Added(
        num_parameters=None,
        share=2.0,
        saved_bytes=(4 + 8) * config.target_ratio,
        weights=places.matrices(sizes),
        embeddings=True,
        head=True,
    )


def merge(backbone: Backbone) -> None:
    """Add the change to the weights."""
    backbone.fold_overlays()


def _gate(logits: Tensor) -> Tensor:
    """Stretch sigmoid to (-1.5, 1.5) and cut it to [0, 1]."""
    return (logits.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)


def _cut(diff: Diff, config: Config) -> None:
    """Keep the largest changes, as the gates leave them at their median; then the gates are gone."""
    groups = _gate(diff.rate * diff.group_alpha).repeat_interleave(diff.counts)
    change = diff.w * _gate(diff.rate * diff.alpha) * groups
    largest = change.abs().topk(int(config.target_ratio * len(change))).indices
    diff.kept = torch.zeros_like(change, dtype=torch.bool)
    diff.kept[largest] = True
    diff.w.copy_(change)


def _diff(backbone: Backbone) -> Diff:
    return backbone.model.get_submodule(NAME)
