"""Prompt tuning: learned virtual tokens before the input.

    [P; X]          P: (num_virtual_tokens, d_model)   X: (tokens, d_model), the input's embeddings

On encoder-decoders P stands before the encoder's input, on decoder-only models before the whole sequence.

With `num_prompts` above one, an ensemble: so many prompts with starts of their own learn from the same batches, each as
it would alone. A query is run once for each of them, side by side in one batch, and the choice that most of them rank
first wins; of choices with equally many votes, the first one.

Paper: 2104.08691, section 2; section 6 (ensembles).
Differs: T-Few's code prepends learned vectors to the decoder's input too (twice the parameters). By default P starts
    as the embeddings of token ids drawn from 3..5002, as there: the 5,000 most frequent tokens of T5's vocabulary,
    whatever they are in another. A class label of several tokens starts a row as their mean, as in the paper; rows that
    are left over start as sampled vocabulary, and so do those behind a text that is shorter than P. The paper trains an
    ensemble's prompts one by one, and does not say what a tie does.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from peftbench.errors import MethodError
from peftbench.methods.base import Added, MethodConfig
from peftbench.methods.parts import peft_form
from peftbench.methods.parts.peft_adapter import PeftAdapter
from peftbench.methods.parts.peft_form import Imported, PeftForm
from peftbench.methods.stages import Loss, Shots
from peftbench.models.backbone import SOFT_PROMPT, Backbone
from peftbench.models.shapes import Sizes

PAPER = "2104.08691, section 2"
IDENTITY_AT_INIT = False
DEAD: dict[str, str] = {}
DEFAULTS: dict[str, Any] = {"lr": 3e-1, "scale_parameter": False, "num_steps": 1000}

FIRST_ID, LAST_ID = 3, 5002


def _is_one(value: int) -> bool:
    return value == 1


class Config(MethodConfig):
    """Settings of prompt tuning.

    Args:
        num_virtual_tokens: Length of the prompt.
        init: What P starts from: "vocabulary" (embeddings of sampled tokens), "uniform" (each value from
            +-`uniform_bound`), "labels" (embeddings of the shots' answer choices), or "text" (of `text`).
        uniform_bound: Half the range of "uniform"; the paper's is 0.5.
        text: What the prompt starts as; required by "text".
        num_prompts: How many prompts vote; 1 is plain prompt tuning, and the paper's ensembles have 5.
    """

    num_virtual_tokens: int = Field(10, ge=1)
    init: Literal["vocabulary", "uniform", "labels", "text"] = "vocabulary"
    uniform_bound: float = Field(0.5, gt=0)
    text: str = ""
    num_prompts: int = Field(1, ge=1, exclude_if=_is_one)

    @model_validator(mode="after")
    def _text_goes_with_text(self) -> "Config":
        if (self.init == "text") != bool(self.text.strip()):
            raise ValueError("init = 'text' needs a text, and the others take none")
        return self

    @model_validator(mode="after")
    def _an_ensemble_needs_many_starts(self) -> "Config":
        if self.num_prompts > 1 and self.init == "text":
            raise ValueError("prompts of an ensemble start differently, and init = 'text' gives all the same start")
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
        """Return P."""
        return self.P


class SoftPrompts(nn.Module):
    """The prompts of an ensemble, each (num_virtual_tokens, d_model).

    Args:
        starts: What each starts from.
    """

    def __init__(self, starts: Sequence[Tensor]) -> None:
        super().__init__()
        self.P = nn.ParameterList(nn.Parameter(start) for start in starts)
        self.num_members = len(starts)
        self._turns = self._members = list(range(len(starts)))

    @property
    def takes_turns(self) -> bool:
        """Whether no batch has said which prompt is whose."""
        return self._members is self._turns

    @contextmanager
    def use(self, members: Sequence[int]) -> Iterator[None]:
        """Run the batches inside with one prompt for each row: `members` are their indices."""
        default, self._members = self._members, list(members)
        try:
            yield
        finally:
            self._members = default

    def forward(self) -> Tensor:
        """Return each row's prompt, (rows, num_virtual_tokens, d_model); outside `use` a row for each member."""
        return torch.stack([self.P[member] for member in self._members])


def attach(backbone: Backbone, config: Config) -> list[str]:
    """Put a prompt before the input; `prepare` sets the class labels of "labels", from the shots."""
    starts = [_start(backbone, config) for _ in range(config.num_prompts)]
    if config.num_prompts > 1:
        backbone.set_soft_prompt(SoftPrompts(starts))
        return [f"{SOFT_PROMPT}.P.{member}" for member in range(config.num_prompts)]
    backbone.set_soft_prompt(SoftPrompt(starts[0]))
    return [f"{SOFT_PROMPT}.P"]


def _start(backbone: Backbone, config: Config) -> Tensor:
    """Draw what a prompt starts from, (num_virtual_tokens, d_model) float32."""
    last = min(LAST_ID, backbone.sizes.vocab_size - 1)
    ids = torch.randint(FIRST_ID, last + 1, (config.num_virtual_tokens,)).to(backbone.device)
    start = backbone.embeddings(ids).detach().float()
    if config.init == "uniform":
        start.uniform_(-config.uniform_bound, config.uniform_bound)
    if config.init == "text":
        text = backbone.tokenizer(config.text, add_special_tokens=False).input_ids
        _fill(backbone, start, [[token] for token in text])
    return start


@torch.no_grad()
def prepare(backbone: Backbone, config: Config, shots: Shots, loss: Loss) -> None:
    """Start P from the shots' answer choices, each once, where `init` says so.

    Raises:
        MethodError: They fill all prompts of an ensemble, which would all be the same.
    """
    if config.init == "labels":
        special = set(backbone.tokenizer.all_special_ids)
        answers: dict[tuple[int, ...], None] = {}
        for example in (example for templates in shots for example in templates):
            for ids, start in zip(example.choices, example.starts, strict=True):
                answers[tuple(token for token in ids[start:] if token not in special)] = None
        if config.num_prompts > 1 and len(answers) >= config.num_virtual_tokens:
            raise MethodError(
                f"init = 'labels' gives all {config.num_prompts} prompts the same start: the shots' {len(answers)} "
                f"answers fill the {config.num_virtual_tokens} virtual tokens",
                hint="init = 'vocabulary', or more virtual tokens than answers",
            )
        assert backbone.soft_prompt is not None
        for prompt in backbone.soft_prompt.parameters():
            _fill(backbone, prompt, [list(ids) for ids in answers])


def _fill(backbone: Backbone, rows: Tensor, pieces: list[list[int]]) -> None:
    """Set the first rows to the mean embedding of each piece, as far as pieces or rows go."""
    for row, ids in zip(rows, pieces, strict=False):
        embedded = backbone.embeddings(torch.tensor(ids, device=backbone.device)).detach()
        row.copy_(embedded.float().mean(0))


def added(sizes: Sizes, config: Config) -> Added:
    """Count num_virtual_tokens * d_model parameters per prompt, and the tokens, which pass through every layer."""
    return Added(
        num_parameters=config.num_prompts * config.num_virtual_tokens * sizes.d_model,
        extra_tokens=config.num_virtual_tokens,
        num_members=config.num_prompts,
    )


merge = None
UNMERGEABLE = "the prompt is input, not weights"


def _from_peft(adapter: PeftAdapter) -> Imported:
    """Read the virtual tokens before the input; of an encoder-decoder the half that peft uses."""
    prompt = adapter.tensors.get("prompt_embeddings")
    if prompt is None or prompt.dim() != 2 or len(adapter.tensors) > 1:
        names = {name: list(tensor.shape) for name, tensor in adapter.tensors.items()}
        first = next((name for name in names if name != "prompt_embeddings"), "prompt_embeddings")
        raise adapter.refused(f"it holds '{first}' {names[first]}", "a prompt is 'prompt_embeddings', a table")
    number = int(adapter.fields.get("num_virtual_tokens") or len(prompt))
    d_model = next(site.in_features for site in adapter.base.sites if site.role == "q")
    adapter.check_shape("prompt_embeddings", prompt[:number].shape, [number, d_model])
    return Imported({"num_virtual_tokens": number}, {f"{SOFT_PROMPT}.P": prompt[:number].clone()})


PEFT = PeftForm(peft_form.soft_prompt, ("PROMPT_TUNING", "P_TUNING"), _from_peft)
