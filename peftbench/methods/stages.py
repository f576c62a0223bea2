"""What a method may do around training beside `attach`: all optional.

    attach -> prepare -> (penalty -> backward -> before_step -> optimiser -> after_step) x num_steps -> finish

| name | what |
|---|---|
| `prepare(backbone, config, shots, loss)` | before the first step: look at the shots (FISH mask, start from labels) |
| `penalty(backbone, config)` | a scalar added to the loss (AdaLoRA's orthogonality, diff pruning's L0) |
| `before_step(backbone, config, step, num_steps)` | gradients are there, nothing is stepped yet |
| `after_step(backbone, config, step, num_steps)` | parameters are stepped (AdaLoRA's budget) |
| `finish(backbone, config)` | turn what was trained into what is used and saved; returns the names of that |
| `restore(backbone, config, shapes)` | what `attach` is for a saved adapter, where `finish` changed what there is |
| `left(sizes, config, shapes)` | what `added` is for a saved adapter, where `finish` took matmuls out |

Training may start from a saved adapter (`adapter.start_from`), in place of `prepare`. Where `finish` changed what there
is, the method has one of these two:

| name | what |
|---|---|
| `finished(config)` | the settings with which `attach` inserts what `finish` left (a folded network stays folded) |
| `resumed(backbone, tensors)` | the saved tensors in the shapes of what `attach` inserted: name -> tensor |
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from peftbench.methods.base import Added
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes
from peftbench.scoring.encoding import Encoded

Shots = Sequence[Sequence[Encoded]]
"""The training examples: per shot, per template."""
Loss = Callable[[Sequence[Encoded]], Tensor]
"""The training loss of a batch, without the method's penalty."""


@dataclass(frozen=True)
class Stages:
    """The optional parts of one method that is attached to a backbone.

    Args:
        method: The method's module.
        backbone: With the method attached.
        config: The method's settings.
        names: What `attach` returned.
    """

    method: Any
    backbone: Backbone
    config: Any
    names: Sequence[str]

    def prepare(self, shots: Shots, loss: Loss) -> None:
        """Let the method look at the shots; afterwards exactly its own parameters require gradients."""
        if hasattr(self.method, "prepare"):
            self.method.prepare(self.backbone, self.config, shots, loss)
            self.backbone.train_only(self.names)

    def penalized(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add the method's penalty, where it has one, to "loss", and give it as "penalty" beside."""
        if not hasattr(self.method, "penalty"):
            return terms
        penalty = self.method.penalty(self.backbone, self.config)
        return {**terms, "loss": terms["loss"] + penalty, "penalty": penalty}

    def before_step(self, step: int, num_steps: int) -> None:
        """Let the method see the gradients of step `step`, counted from 0."""
        if hasattr(self.method, "before_step"):
            self.method.before_step(self.backbone, self.config, step, num_steps)

    def after_step(self, step: int, num_steps: int) -> None:
        """Let the method change its parameters after step `step`."""
        if hasattr(self.method, "after_step"):
            self.method.after_step(self.backbone, self.config, step, num_steps)

    def finish(self) -> list[str]:
        """Give the names of what is used and saved."""
        if hasattr(self.method, "finish"):
            names: list[str] = self.method.finish(self.backbone, self.config)
            return names
        return list(self.names)


def left(method: Any, sizes: Sizes, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> Added:
    """Give what is added by the tensors that `finish` left.

    Args:
        method: The method's module.
        sizes: The model's shapes.
        config: The method's settings.
        shapes: Names and shapes of the tensors, in the order of `finish`.
    """
    added: Added = method.left(sizes, config, shapes) if hasattr(method, "left") else method.added(sizes, config)
    return added


def restore(method: Any, backbone: Backbone, config: Any, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Insert what a saved adapter holds.

    Args:
        method: The method's module.
        backbone: With nothing attached.
        config: The method's settings.
        shapes: Names and shapes of the saved tensors.

    Returns:
        Full names of the parameters and buffers to be filled.
    """
    put = getattr(method, "restore", None)
    names: list[str] = method.attach(backbone, config) if put is None else put(backbone, config, shapes)
    return names


def finished_config(method: Any, config: Any) -> Any:
    """Give the settings with which `attach` inserts what a saved adapter of these settings holds."""
    return method.finished(config) if hasattr(method, "finished") else config


def resumed(method: Any, backbone: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring a saved adapter's tensors into the shapes of what `attach` has inserted."""
    shaped: dict[str, Tensor] = method.resumed(backbone, tensors) if hasattr(method, "resumed") else tensors
    return shaped
