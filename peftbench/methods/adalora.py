"""AdaLoRA: updates in the shape of a singular value decomposition, whose least important values are cut away.

    h = W x + (alpha / init_rank) P Lambda Q x          P: (n, r)   Lambda: diag(r)   Q: (r, k)

All layers start with init_rank values each, Lambda at zero. From step t_i to num_steps - t_f the number that all layers
together may keep falls from init_rank to target_rank per layer, by a cubic schedule; every `interval` steps the values
with the lowest scores are set to zero, and come back if they grow important; in the last t_f steps those that are kept
stay the same. A value's score is S(lambda) + mean S(P's column) + mean S(Q's row), S = sensitivity * uncertainty, both
smoothed: I = |w dL/dw|. The loss holds orth_reg_weight times the mean of |P^T P - 1| and |Q Q^T - 1|.

Paper: 2303.10512, sections 3.1 to 3.3.
Differs: the schedule's steps are shares of num_steps here, since the paper's (thousands) outlast few-shot training. As
    in the authors' code and in peft the penalty is the mean of norms, not the sum of their squares; unlike there the
    sensitivity takes a weight as it was when its gradient was, before the step, and the gradient before it is clipped.
    When training ends the values that are not kept are taken out, with their rows and columns: layers are saved at
    ranks of their own. P and Q start with unit columns and rows in expectation, where the code takes N(0, 0.02^2),
    which is the same at 2,500 features. The budget is rounded to a whole number of values, where the code cuts it off.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from peftbench.methods.base import Added, MethodConfig, Op
from peftbench.methods.parts import peft_form, places, sites
from peftbench.methods.parts.peft_adapter import PeftAdapter
from peftbench.methods.parts.peft_form import Exported, Imported, PeftForm
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Role, Site, Sizes

PAPER = "2303.10512, section 3"
IDENTITY_AT_INIT = True
DEAD: dict[str, str] = {}
# Lambda starts at zero, where scale_parameter would shrink its steps.
DEFAULTS: dict[str, Any] = {"lr": 1e-2, "scale_parameter": False, "num_steps": 1000}


class Config(MethodConfig):
    """Settings of AdaLoRA; it acts on every linear layer of the blocks.

    Args:
        init_rank: Values per layer at the start; the paper takes 1.5 times target_rank.
        target_rank: Values per layer, on average, at the end.
        alpha: The update is scaled by alpha / init_rank.
        t_i: Share of the steps before the budget begins to fall.
        t_f: Share of the steps, at the end, in which it stays at the target.
        interval: Steps between two cuts, Delta T.
        beta1: Smoothing of the sensitivity.
        beta2: Smoothing of the uncertainty.
        orth_reg_weight: Weight gamma of the orthogonality in the loss.
    """

    init_rank: int = Field(6, ge=1)
    target_rank: int = Field(4, ge=1)
    alpha: float = Field(6.0, gt=0)
    t_i: float = Field(0.1, ge=0, le=1)
    t_f: float = Field(0.3, ge=0, le=1)
    interval: int = Field(10, ge=1)
    beta1: float = Field(0.85, ge=0, lt=1)
    beta2: float = Field(0.85, ge=0, lt=1)
    orth_reg_weight: float = Field(0.1, ge=0)

    @model_validator(mode="after")
    def _budget_falls(self) -> "Config":
        if self.target_rank > self.init_rank:
            raise ValueError(
                f"target_rank = {self.target_rank} is more than init_rank = {self.init_rank}: the budget can only fall"
            )
        if self.t_i + self.t_f >= 1:
            raise ValueError("t_i and t_f leave no steps in which the budget falls: their sum is 1 or more")
        return self

    def rank_budget(self, step: int, num_steps: int) -> float:
        """Compute the budget after a step: values per layer, on average.

        target + (init - target) (1 - (t - t_i) / (T - t_i - t_f))^3, between t_i and T - t_f

        Args:
            step: t, counted from 1.
            num_steps: T, of which the fields t_i and t_f are shares.
        """
        done = (step / num_steps - self.t_i) / (1 - self.t_i - self.t_f)
        return self.target_rank + (self.init_rank - self.target_rank) * (1 - min(max(done, 0), 1)) ** 3


class Svd(nn.Module):
    """The update P Lambda Q of one layer.

    Args:
        k: Features that go in.
        n: Features that come out.
        rank: Number of values.
        scale: alpha / init_rank.
    """

    def __init__(self, k: int, n: int, rank: int, scale: float) -> None:
        super().__init__()
        self.P = nn.Parameter(torch.randn(n, rank) / n**0.5)
        self.Lambda = nn.Parameter(torch.zeros(rank))
        self.Q = nn.Parameter(torch.randn(rank, k) / k**0.5)
        self.scale = scale
        self._smooth: dict[str, tuple[Tensor, Tensor]] = {}

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Compute y + (alpha / init_rank) P Lambda Q x, (..., n).

        Args:
            y: (..., n) the layer's output W x.
            x: (..., k) the layer's input.
        """
        inner = functional.linear(x.to(self.Q.dtype), self.Q) * self.Lambda  # (..., rank)
        return y + self.scale * functional.linear(inner, self.P)

    def update(self) -> Tensor:
        """Compute the update of the weight, (n, k)."""
        return self.scale * (self.P * self.Lambda) @ self.Q

    def orthogonality(self) -> Tensor:
        """Compute |P^T P - 1| + |Q Q^T - 1|, Frobenius norms."""
        identity = torch.eye(len(self.Lambda), device=self.P.device)  # (rank, rank)
        return (self.P.T @ self.P - identity).norm() + (self.Q @ self.Q.T - identity).norm()

    def update_importance(self, beta1: float, beta2: float) -> None:
        """Smooth the sensitivity |w dL/dw| and the uncertainty |I - smooth I|, from this step's gradients."""
        for name, parameter in self.named_parameters():
            assert parameter.grad is not None
            now = (parameter * parameter.grad).abs()
            mean, uncertainty = self._smooth.get(name, (torch.zeros_like(now), torch.zeros_like(now)))
            mean = beta1 * mean + (1 - beta1) * now
            self._smooth[name] = (mean, beta2 * uncertainty + (1 - beta2) * (now - mean).abs())

    def scores(self) -> Tensor:
        """Score each value, (rank)."""
        score = {name: mean * uncertainty for name, (mean, uncertainty) in self._smooth.items()}
        return score["Lambda"] + score["P"].mean(0) + score["Q"].mean(1)


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Insert P, Lambda and Q beside each linear layer.

    Raises:
        MethodError: A role matches no layer of this backbone, or init_rank is more than one has.
    """
    places.check_rank(backbone.sizes, places.linear_roles(backbone.sizes), "init_rank", config.init_rank)
    return _insert(backbone, config, [config.init_rank] * len(_sites(backbone)))


def restore(backbone: Backbone, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Insert as many values in each layer as were saved."""
    return _insert(backbone, config, [shapes[f"{_module(site)}.Lambda"][0] for site in _sites(backbone)])


@torch.no_grad()
def resume_tensors(backbone: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy the kept values into the first of init_rank slots; the others are as at the start, Lambda zero."""
    whole = {name: tensor.clone() for name, tensor in backbone.tensors_named(tensors).items()}
    for name, tensor in tensors.items():
        whole[name][tuple(slice(size) for size in tensor.shape)] = tensor
    return whole


def penalty(backbone: Backbone, config: Config) -> Tensor:
    """Compute orth_reg_weight times the mean distance of all P and Q from orthogonality."""
    distances = [svd.orthogonality().to(backbone.device) for _, svd in _attached(backbone)]
    return config.orth_reg_weight * torch.stack(distances).sum() / (2 * len(distances))


@torch.no_grad()
def before_step(backbone: Backbone, config: Config, step: int, num_steps: int) -> None:
    """Update the importance of each weight from this step's gradients, as long as the budget falls."""
    svds = [svd for _, svd in _attached(backbone)]
    if _is_final(step, num_steps, config) and all(svd._smooth for svd in svds):
        return
    for svd in svds:
        svd.update_importance(config.beta1, config.beta2)


@torch.no_grad()
def after_step(backbone: Backbone, config: Config, step: int, num_steps: int) -> None:
    """Set the values with the lowest scores to zero, so that the budget is kept."""
    budget = config.rank_budget(step + 1, num_steps)
    is_time = _is_final(step, num_steps, config) or (step + 1) % config.interval == 0
    if budget == config.init_rank or not is_time:
        return
    svds = [svd for _, svd in _attached(backbone)]
    scores = torch.cat([svd.scores().to(backbone.device) for svd in svds])
    is_kept = torch.zeros_like(scores, dtype=torch.bool)  # (values of all layers)
    is_kept[scores.topk(round(budget * len(svds))).indices] = True
    for svd, mask in zip(svds, is_kept.split([len(svd.Lambda) for svd in svds]), strict=True):
        svd.Lambda.mul_(mask.to(svd.Lambda.device))


@torch.no_grad()
def finish(backbone: Backbone, config: Config) -> list[str]:
    """Take out the values that are zero, with their columns and rows."""
    for _, svd in _attached(backbone):
        is_kept = svd.Lambda != 0  # (init_rank)
        svd.P, svd.Lambda = nn.Parameter(svd.P[:, is_kept]), nn.Parameter(svd.Lambda[is_kept])
        svd.Q = nn.Parameter(svd.Q[is_kept])
    return _names(backbone)


def added(sizes: Sizes, config: Config) -> Added:
    """Count init_rank (k + n + 1) trained parameters and two matmuls per layer, and the matmuls of the penalty."""
    places.check_rank(sizes, places.linear_roles(sizes), "init_rank", config.init_rank)
    return _added(sizes, itertools.repeat(config.init_rank))


def added_finished(sizes: Sizes, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> Added:
    """Count the same for the values that were kept in each layer."""
    return _added(sizes, [shape[0] for name, shape in shapes.items() if name.endswith(".Lambda")])


def _added(sizes: Sizes, ranks: Iterable[int]) -> Added:
    ops, count = [], 0
    layers = (linear for role in places.linear_roles(sizes) for linear in places.linears(sizes, role))
    for linear, rank in zip(layers, ranks, strict=False):
        ops.append(Op(linear.place, linear.k, rank, mergeable=True, reads="input"))
        ops.append(Op(linear.place, rank, linear.n, mergeable=True, reads="trained"))
        count += rank * (linear.k + linear.n + 1)
        for features in (linear.k, linear.n):  # Q Q^T and P^T P
            ops.append(Op(None, features, rank, mergeable=False, reads="trained", rows=rank, training_only=True))
    return Added(num_parameters=count, ops=tuple(ops))


@torch.no_grad()
def merge(backbone: Backbone) -> None:
    """Fold the update into each layer's weight."""
    updates = [(site, svd.update()) for site, svd in _attached(backbone)]
    backbone.take_out()
    sites.keep(backbone, [site for site, _ in updates])
    for site, update in updates:
        sites.weight(backbone, site)[site.index] += update


def _is_final(step: int, num_steps: int, config: Config) -> bool:
    """Tell whether the budget has come to its target at a step, counted from 0."""
    return step + 1 >= num_steps * (1 - config.t_f)


def _insert(backbone: Backbone, config: Config, ranks: Iterable[int]) -> list[str]:
    for site, rank in zip(_sites(backbone), ranks, strict=True):
        module = Svd(site.in_features, site.features, rank, config.alpha / config.init_rank)
        backbone.insert(site, _name(site.role), module)
    return _names(backbone)


def _names(backbone: Backbone) -> list[str]:
    return [f"{_module(site)}.{part}" for site in _sites(backbone) for part in ("P", "Lambda", "Q")]


def _sites(backbone: Backbone) -> list[Site]:
    return [site for role in places.linear_roles(backbone.sizes) for site in sites.required(backbone, role, "AdaLoRA")]


def _name(role: Role) -> str:
    return f"adalora_{role}"


def _module(site: Site) -> str:
    return f"{site.module}.{_name(site.role)}"


def _attached(backbone: Backbone) -> list[tuple[Site, Svd]]:
    return [(site, module) for (site, _), module in backbone.inserted.items() if isinstance(module, Svd)]


def _to_peft(backbone: Backbone, names: Sequence[str]) -> Exported:
    return peft_form.low_rank(backbone, lambda svd: (svd.scale * svd.P * svd.Lambda, svd.Q, 1.0))


def _from_peft(adapter: PeftAdapter) -> Imported:
    """Read P Lambda Q of all linear layers; peft scales it by alpha / init_r, however many values a layer has kept."""
    fields = adapter.fields
    rank = int(fields.get("init_r", 12))
    alpha = float(fields.get("lora_alpha", 8))
    alpha = alpha if alpha > 0 else float(rank)
    tensors: dict[str, Tensor] = {}
    covered: list[Site] = []
    for module, targets, (a, b, e) in adapter.layers("lora_A", "lora_B", "lora_E"):
        adapter.check_shape(module, [a.shape[1], b.shape[0]], [targets[0].in_features, adapter.num_outputs(module)])
        values = e[:, 0] * (rank / (rank + 1e-5))  # peft adds that much to what it divides by
        for site in targets:
            parts = {"P": b[site.index], "Lambda": values, "Q": a}
            tensors |= {f"{_module(site)}.{name}": part.clone() for name, part in parts.items()}
        covered += targets
    roles = {*adapter.roles(covered)}
    missing = [site for site in adapter.base.sites if site.role in places.LINEAR and site.role not in roles]
    if missing:
        raise adapter.refused(f"it does not act on '{missing[0].module}'", "AdaLoRA acts on all linear layers here")
    target = min(rank, int(fields.get("target_r", 8)))
    return Imported({"init_rank": rank, "target_rank": target, "alpha": alpha}, tensors)


PEFT = PeftForm(_to_peft, ("ADALORA",), _from_peft)
