"""A method through training: attach -> prepare -> (penalty -> before_step -> after_step) x num_steps -> finish.

What a method does at each stage is a hook of `base.Method`; `Stages` calls the hooks on one backbone. Training may
start from a saved adapter (`adapters.starts`), in place of `prepare`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from peftbench.methods.base import Method
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded

Shots = Sequence[Sequence[Encoded]]
"""The training examples: per shot, per template."""
Loss = Callable[[Sequence[Encoded]], Tensor]
"""The training loss of a batch, without the method's penalty."""


@dataclass(frozen=True)
class Stages:
    """The hooks of one method that is attached to a backbone.

    Args:
        method: The method.
        backbone: With the method attached.
        config: The method's settings.
        names: What `attach` returned.
    """

    method: Method
    backbone: Backbone
    config: Any
    names: Sequence[str]

    def prepare(self, shots: Shots, loss: Loss) -> None:
        """Call `prepare`; afterwards exactly the method's own parameters require gradients."""
        self.method.prepare(self.backbone, self.config, shots, loss)
        self.backbone.train_only(self.names)

    def penalized(self, terms: dict[str, Tensor], share: float = 1.0) -> dict[str, Tensor]:
        """Add the method's penalty, where it has one, to "loss", and list it as "penalty" beside.

        Args:
            terms: Losses of a batch, or of a part of it.
            share: How much of the batch that is.
        """
        penalty = self.method.penalty(self.backbone, self.config)
        if penalty is None:
            return terms
        penalty = penalty if share == 1 else share * penalty
        return {**terms, "loss": terms["loss"] + penalty.to(terms["loss"].device), "penalty": penalty}

    def before_step(self, step: int, num_steps: int) -> None:
        """Call `before_step` of step `step`, counted from 0."""
        self.method.before_step(self.backbone, self.config, step, num_steps)

    def after_step(self, step: int, num_steps: int) -> None:
        """Call `after_step` of step `step`, counted from 0."""
        self.method.after_step(self.backbone, self.config, step, num_steps)

    def finish(self, beside: Sequence[str] = ()) -> list[str]:
        """Turn what was trained into what is used, and list the full names of what is saved.

        Args:
            beside: Names of what was trained beside the method.
        """
        names = self.method.finish(self.backbone, self.config)
        if names is None:
            return list(self.names)
        return [*names, *(name for name in beside if name not in names)]
