"""P-tuning: virtual tokens before the input that come out of a small network: an LSTM, an MLP, or none.

    [P; X]          P = MLP(BiLSTM(E))  |  P = MLP(E)  |  P = E          E: (num_virtual_tokens, d_model)

When training ends the network is run once more and dropped: P is what is used and saved.

Paper: 2103.10385, section 3.2.
Differs: the paper spreads P over places of a template and trains the model with it, as training's `train_backbone`
    does; here P stands before the input of a frozen model, as in peft, whose networks these are: the LSTM has two
    layers, and an MLP of one hidden layer follows it; the MLP alone has two hidden layers. The prompt is folded, as
    there.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from peftbench.methods.base import Added, MethodConfig, Op
from peftbench.methods.parts import peft_form
from peftbench.models.backbone import SOFT_PROMPT, Backbone
from peftbench.models.shapes import Sizes

PAPER = "2103.10385, section 3.2"
IDENTITY_AT_INIT = False
DEAD: dict[str, str] = {}
DEFAULTS: dict[str, Any] = {"lr": 3e-3, "scale_parameter": False, "num_steps": 1000}

NUM_LSTM_LAYERS = 2


class Config(MethodConfig):
    """Settings of p-tuning.

    Args:
        num_virtual_tokens: Length of the prompt.
        encoder: What makes the prompt: "lstm", "mlp" or "embedding" (nothing: the embeddings are the prompt, and want
            steps as large as prompt tuning's).
        hidden_size: Features inside the network; None takes the model's d_model.
    """

    num_virtual_tokens: int = Field(10, ge=1)
    encoder: Literal["lstm", "mlp", "embedding"] = "lstm"
    hidden_size: int | None = Field(None, ge=1)


class PromptEncoder(nn.Module):
    """The network that makes P.

    Args:
        num_tokens: Length of the prompt.
        d_model: Features of P.
        hidden_size: Features inside.
        encoder: "lstm", "mlp" or "embedding".
    """

    def __init__(self, num_tokens: int, d_model: int, hidden_size: int, encoder: str) -> None:
        super().__init__()
        self.E = nn.Parameter(torch.randn(num_tokens, d_model))
        self.lstm = None
        self.mlp: nn.Module = nn.Identity()
        if encoder == "lstm":
            self.lstm = nn.LSTM(d_model, hidden_size, NUM_LSTM_LAYERS, bidirectional=True, batch_first=True)
            self.mlp = _mlp(2 * hidden_size, 2 * hidden_size, d_model)
        if encoder == "mlp":
            self.mlp = _mlp(d_model, hidden_size, hidden_size, d_model)

    def forward(self) -> Tensor:
        """Compute P, (num_tokens, d_model)."""
        inner = self.E if self.lstm is None else self.lstm(self.E[None])[0][0]  # (num_tokens, d_model or 2 hidden_size)
        prompt: Tensor = self.mlp(inner)
        return prompt


class Folded(nn.Module):
    """The prompt P without its network, (num_tokens, d_model).

    Args:
        prompt: The network's last output.
    """

    def __init__(self, prompt: Tensor) -> None:
        super().__init__()
        self.P = nn.Parameter(prompt)

    def forward(self) -> Tensor:
        """Return P."""
        return self.P


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Put the network's prompt before the input."""
    d_model = backbone.sizes.d_model
    encoder = PromptEncoder(config.num_virtual_tokens, d_model, config.hidden_size or d_model, config.encoder)
    backbone.set_soft_prompt(encoder)
    return [f"{SOFT_PROMPT}.{name}" for name, _ in encoder.named_parameters()]


@torch.no_grad()
def finish(backbone: Backbone, config: Config) -> list[str]:
    """Replace the network by its output."""
    assert backbone.soft_prompt is not None
    prompt = backbone.soft_prompt()
    backbone.take_out()
    backbone.set_soft_prompt(Folded(prompt.clone()))
    return [f"{SOFT_PROMPT}.P"]


def resume_config(config: Config) -> Config:
    """Build the settings of a plain prompt: the network is folded into it."""
    return config.model_copy(update={"encoder": "embedding"})


def resume_tensors(backbone: Backbone, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the plain prompt P to E, the input of an `encoder = "embedding"`."""
    return {f"{SOFT_PROMPT}.E": tensors[f"{SOFT_PROMPT}.P"]}


def restore(backbone: Backbone, config: Config, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Put a plain prompt before the input."""
    backbone.set_soft_prompt(Folded(torch.zeros(config.num_virtual_tokens, backbone.sizes.d_model)))
    return [f"{SOFT_PROMPT}.P"]


def added(sizes: Sizes, config: Config) -> Added:
    """Count the network's parameters, and the virtual tokens, which pass through every layer."""
    d_model, hidden = sizes.d_model, config.hidden_size or sizes.d_model
    widths = {
        "lstm": [2 * hidden, 2 * hidden, d_model],
        "mlp": [d_model, hidden, hidden, d_model],
        "embedding": [d_model],
    }[config.encoder]
    num_tokens, layers = config.num_virtual_tokens, list(pairwise(widths))
    count = num_tokens * d_model + sum(k * n + n for k, n in layers)
    ops = [_matmul(num_tokens, k, n) for k, n in layers]
    if config.encoder == "lstm":  # per layer and direction four gates, each with two biases
        gates = 4 * hidden
        count += 2 * sum(k * gates + gates for k in (d_model, hidden, 2 * hidden, hidden))
        for k in (d_model, 2 * hidden) * 2:
            ops += [_matmul(num_tokens, k, gates), _matmul(num_tokens - 1, hidden, gates)]
            ops.append(_matmul(1, hidden, gates, reads="values"))  # the first state is zero, and not trained
    return Added(
        num_parameters=count,
        ops=tuple(ops),
        extra_tokens=num_tokens,
        saved_bytes=4 * num_tokens * d_model,
    )


def _matmul(rows: int, k: int, n: int, reads: Literal["trained", "values"] = "trained") -> Op:
    return Op(None, k, n, mergeable=False, reads=reads, rows=rows, training_only=True)


merge = None
UNMERGEABLE = "the prompt is input, not weights"


def _mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for k, n in pairwise(widths):
        layers += [nn.Linear(k, n), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


PEFT = peft_form.PeftForm(peft_form.soft_prompt)
