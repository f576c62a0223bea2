"""Prompt tuning: learned virtual tokens before the input.

    [P; X]          P: (num_virtual_tokens, d_model)   X: the input's embeddings

On encoder-decoders P stands before the encoder's input, on decoder-only models before the whole sequence.

Paper: 2104.08691, section 2.
Differs: T-Few's code prepends learned vectors to the decoder's input too (twice the parameters). P starts as the
    embeddings of token ids drawn from 3..5002, as there: the 5,000 most frequent tokens of T5's vocabulary, whatever
    they are in another.
"""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from peftbench.methods.base import Added, MethodConfig
from peftbench.models.backbone import SOFT_PROMPT, Backbone, Sizes

PAPER = "2104.08691, section 2"
IDENTITY_AT_INIT = False
DEAD: dict[str, str] = {}
DEFAULTS: dict[str, Any] = {"lr": 3e-1, "scale_parameter": False, "num_steps": 1000}

FIRST_ID, LAST_ID = 3, 5002


class Config(MethodConfig):
    """Settings of prompt tuning.

    Args:
        num_virtual_tokens: Length of the prompt.
    """

    num_virtual_tokens: int = Field(10, ge=1)


class SoftPrompt(nn.Module):
    """The prompt P, (num_virtual_tokens, d_model).

    Args:
        start: What it starts from.
    """

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.P = nn.Parameter(start)

    def forward(self) -> Tensor:
        """Give P."""
        return self.P


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Put a prompt of sampled vocabulary embeddings before the input."""
    last = min(LAST_ID, backbone.sizes.vocab_size - 1)
    ids = torch.randint(FIRST_ID, last + 1, (config.num_virtual_tokens,)).to(backbone.device)
    backbone.set_soft_prompt(SoftPrompt(backbone.embeddings.weight.detach()[ids].float()))
    return [f"{SOFT_PROMPT}.P"]


def added(sizes: Sizes, config: Config) -> Added:
    """Give num_virtual_tokens * d_model parameters and as many extra tokens, which pass through every layer."""
    num_tokens = config.num_virtual_tokens
    return Added(num_parameters=num_tokens * sizes.d_model, extra_tokens=num_tokens)


merge = None  # the prompt is input, not weights
