"""Prompt tuning: learned virtual tokens before the input.

    [P; X]          P: (num_virtual_tokens, d_model)   X: the input's embeddings

On encoder-decoders P stands before the encoder's input, on decoder-only models before the whole sequence.

Paper: 2104.08691, section 2.
Differs: T-Few's code prepends learned vectors to the decoder's input too (twice the parameters). By default P starts
    as the embeddings of token ids drawn from 3..5002, as there: the 5,000 most frequent tokens of T5's vocabulary,
    whatever they are in another. A class label of several tokens starts a row as their mean, as in the paper; rows that
    are left over start as sampled vocabulary, and so do those behind a text that is shorter than P.
"""

from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.stages import Loss, Shots
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
        init: What P starts from: "vocabulary" (embeddings of sampled tokens), "uniform" (each value from
            +-`uniform_bound`), "labels" (embeddings of the shots' answer choices), or "text" (of `text`).
        uniform_bound: Half the range of "uniform"; the paper's is 0.5.
        text: What the prompt starts as; required by "text".
    """

    num_virtual_tokens: int = Field(10, ge=1)
    init: Literal["vocabulary", "uniform", "labels", "text"] = "vocabulary"
    uniform_bound: float = Field(0.5, gt=0)
    text: str = ""

    @model_validator(mode="after")
    def _text_goes_with_text(self) -> "Config":
        if (self.init == "text") != bool(self.text.strip()):
            raise ValueError("init = 'text' needs a text, and the others take none")
        return self


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
    """Put a prompt before the input; the class labels of "labels" come when the shots are there."""
    last = min(LAST_ID, backbone.sizes.vocab_size - 1)
    ids = torch.randint(FIRST_ID, last + 1, (config.num_virtual_tokens,)).to(backbone.device)
    start = backbone.embeddings.weight.detach()[ids].float()
    if config.init == "uniform":
        start.uniform_(-config.uniform_bound, config.uniform_bound)
    if config.init == "text":
        text = backbone.tokenizer(config.text, add_special_tokens=False).input_ids
        _fill(backbone, start, [[token] for token in text])
    backbone.set_soft_prompt(SoftPrompt(start))
    return [f"{SOFT_PROMPT}.P"]


@torch.no_grad()
def prepare(backbone: Backbone, config: Config, shots: Shots, loss: Loss) -> None:
    """Start P from the shots' answer choices, each once, where `init` says so."""
    if config.init == "labels":
        special = set(backbone.tokenizer.all_special_ids)
        answers: dict[tuple[int, ...], None] = {}
        for example in (example for templates in shots for example in templates):
            for ids, start in zip(example.choices, example.starts, strict=True):
                answers[tuple(token for token in ids[start:] if token not in special)] = None
        prompt = backbone.soft_prompt
        assert prompt is not None
        _fill(backbone, prompt.P, [list(ids) for ids in answers])  # type: ignore[arg-type]


def _fill(backbone: Backbone, rows: Tensor, pieces: list[list[int]]) -> None:
    """Set the first rows to the mean embedding of each piece, as far as pieces or rows go."""
    table = backbone.embeddings.weight.detach()
    for row, ids in zip(rows, pieces, strict=False):
        row.copy_(table[torch.tensor(ids, device=table.device)].float().mean(0))


def added(sizes: Sizes, config: Config) -> Added:
    """Give num_virtual_tokens * d_model parameters and as many extra tokens, which pass through every layer."""
    num_tokens = config.num_virtual_tokens
    return Added(num_parameters=num_tokens * sizes.d_model, extra_tokens=num_tokens)


merge = None
UNMERGEABLE = "the prompt is input, not weights"
