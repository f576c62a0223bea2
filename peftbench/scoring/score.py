"""Scoring answer choices: the one place where in-context learning and tuning are both evaluated."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from peftbench.errors import RunError
from peftbench.models.backbone import Backbone
from peftbench.scoring.batches import Rows, batches
from peftbench.scoring.encoding import Encoded, Prompt, check_fits, encode_all, lengths
from peftbench.scoring.work import Length, Work, plus
from peftbench.store.record import Normalization

SCORER_VERSION = 1
NORMALIZATIONS: tuple[Normalization, ...] = ("token", "char", "byte", "none")


@dataclass(frozen=True)
class ChoiceScore:
    """A choice's log-probability, and the lengths by which it can be normalised.

    Args:
        log_prob: Sum over the answer's tokens, its end included where that is scored.
        num_tokens: Tokens summed over.
        num_chars: Characters of the choice's text, without its end.
        num_bytes: UTF-8 bytes of the choice's text.
        ranked: By normalisation, what the choice is ranked by, where that is not log_prob by length: a calibrated
            log-probability, or votes.
    """

    log_prob: float
    num_tokens: int
    num_chars: int
    num_bytes: int
    ranked: Mapping[Normalization, float] | None = None

    def value(self, normalization: Normalization = "token") -> float:
        """Give what the choice is ranked by."""
        if self.ranked is not None:
            return self.ranked[normalization]
        lengths = {"token": self.num_tokens, "char": self.num_chars, "byte": self.num_bytes, "none": 1}
        return self.log_prob / lengths[normalization]


@dataclass(frozen=True)
class Scores:
    """Choice scores per example, in the examples' order.

    Args:
        choices: Per example, per choice.
        lengths: Of all prompts that were scored for the examples: one for each, or more.
        work: What was run for all of it.
        once: Lengths of prompts that were scored once for all examples.
    """

    choices: list[list[ChoiceScore]]
    lengths: list[Length]
    work: Work
    once: tuple[Length, ...] = ()


def score(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    *,
    end: str,
    separator: str,
    cache: bool = True,
    progress: Callable[[int], None] | None = None,
    token_budget: int | None = None,
    rows: Rows | None = None,
) -> Scores:
    """Score each prompt's choices by their log-probability.

    A decoder-only model runs what all prompts begin with (the shots) once, and then packs many prompts with all their
    choices into one row, each token seeing its own ancestors only. Sharing changes no choice's tokens.

    Where an ensemble of soft prompts is attached, each prompt is run once for each of them, and they vote.

    Args:
        backbone: Is scored as it is: with what is attached, in eval mode.
        prompts: Inputs hold the shots.
        end: "eos", "separator" or "none": what closes an answer and is scored with it.
        separator: The text between shots.
        cache: False runs each (prompt, choice) as a row of its own through the plain model. Where prompts differ in
            what is attached for them, each is a row with all its choices, whatever is said here.
        progress: Called with the number of prompts that were just finished.
        token_budget: Tokens per forward pass; None suits the device. It does not change the scores beyond rounding.
        rows: Where prompts differ in what is attached for them: entered for each forward pass, with the indices of its
            prompts, each of which is then one row.

    Raises:
        ModelError: A choice without tokens, two choices with the same tokens, or a prompt longer than the model takes.
        RunError: A log-probability is not finite, or memory does not suffice for one prompt.
    """
    if not prompts:
        return Scores([], [], Work())
    members = backbone.num_members
    if members > 1:
        assert rows is None, "an ensemble's rows are its own"
        prompts, rows = [prompt for prompt in prompts for _ in range(members)], _by_turns(backbone)
    encoded = encode_all(backbone, prompts, end=end, separator=separator)
    check_fits(backbone, encoded)
    sums: list[list[float]] = [[]] * len(encoded)
    work, num_done = Work(), 0
    with torch.inference_mode():
        for indices, found, spent in batches(backbone, encoded, cache=cache, budget=token_budget, rows=rows):
            for index, log_probs in zip(indices, found, strict=True):
                if not all(map(math.isfinite, log_probs)):
                    raise RunError(
                        f"'{backbone.name}' gives a choice no finite log-probability", hint="--dtype float32"
                    )
                sums[index] = log_probs
            work = plus(work, spent)
            before, num_done = num_done // members, num_done + len(indices)
            if progress is not None and num_done // members > before:
                progress(num_done // members - before)
    choices = [_choice_scores(*each) for each in zip(prompts, encoded, sums, strict=True)]
    if members > 1:
        choices = [vote(choices[first : first + members]) for first in range(0, len(choices), members)]
    return Scores(choices, lengths(backbone, encoded), work)


def predict(scores: Sequence[ChoiceScore], normalization: Normalization = "token") -> int:
    """Rank classification: the choice with the highest length-normalised log-probability; of equals the first.

    argmax_c  log p(y_c | x) / length(y_c)

    Paper: 2205.05638, section 3.1 (tokens).
    """
    values = normalized(scores, normalization)
    return values.index(max(values))


def normalized(scores: Sequence[ChoiceScore], normalization: Normalization = "token") -> list[float]:
    """Give what each choice is ranked by: its log-probability by its length, unless it says otherwise."""
    return [score.value(normalization) for score in scores]


def mean(members: Sequence[Sequence[ChoiceScore]]) -> list[ChoiceScore]:
    """Average each choice's probability over members; its lengths are the same in all of them.

    p(y | x) = 1/k sum_j p_j(y | x)
    """
    log_probs = torch.tensor([[score.log_prob for score in scores] for scores in members], dtype=torch.float64)
    means = (log_probs.logsumexp(0) - math.log(len(members))).tolist()
    return [replace(score, log_prob=value, ranked=None) for score, value in zip(members[0], means, strict=True)]


def vote(members: Sequence[Sequence[ChoiceScore]]) -> list[ChoiceScore]:
    """Count the members that rank a choice first, by each normalisation; log_prob is that of the mean.

    Votes rank the choices, and of equally many the first choice wins, as `predict` has it.
    """
    votes = {name: Counter(predict(scores, name) for scores in members) for name in NORMALIZATIONS}
    return [
        replace(score, ranked={name: float(votes[name][choice]) for name in NORMALIZATIONS})
        for choice, score in enumerate(mean(members))
    ]


def _by_turns(backbone: Backbone) -> Rows:
    """Give an ensemble's rows where each prompt stands there once for each member, next to each other."""
    ensemble: Any = backbone.soft_prompt
    return lambda indices: ensemble.rows([index % backbone.num_members for index in indices])


def _choice_scores(prompt: Prompt, encoded: Encoded, sums: Sequence[float]) -> list[ChoiceScore]:
    scores = []
    for text, ids, start, log_prob in zip(prompt.choices, encoded.choices, encoded.starts, sums, strict=True):
        answer = text.strip()
        scores.append(ChoiceScore(log_prob, len(ids) - start, len(answer), len(answer.encode())))
    return scores
