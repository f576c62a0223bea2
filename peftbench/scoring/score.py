"""Scoring answer choices: the one place where in-context learning and tuning are both evaluated."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch

from peftbench.errors import RunError
from peftbench.models.backbone import Backbone
from peftbench.scoring import blocks, trie
from peftbench.scoring.batches import RowAdapters, batches
from peftbench.scoring.encoding import Encoded, check_fits, encode, lengths, num_shot_tokens
from peftbench.scoring.layout import Shot
from peftbench.scoring.ranking import ChoiceScore, vote
from peftbench.scoring.work import Length, SelectionWork, Work
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example

SCORER_VERSION = 1


@dataclass(frozen=True)
class Scores:
    """Choice scores per example, in the examples' order.

    Args:
        choices: Per example, per choice.
        lengths: Of all prompts that were scored for the examples: one for each, or more.
        work: What was run for all of it.
        once: Lengths of prompts that were scored once for all examples.
        seconds: Wall time that it took.
        selection: What choosing shots for each example took, in none of the others; None where none are chosen.
    """

    choices: list[list[ChoiceScore]]
    lengths: list[Length]
    work: Work
    once: tuple[Length, ...] = ()
    seconds: float = 0.0
    selection: SelectionWork | None = None


def score(
    backbone: Backbone,
    examples: Sequence[Example],
    scoring: Scoring,
    shots: Sequence[Shot] = (),
    *,
    block_shots: int | None = None,
    progress: Callable[[int], None] | None = None,
    token_budget: int | None = None,
    row_adapters: RowAdapters | None = None,
) -> Scores:
    """Score each example's choices by their log-probability.

    A decoder-only model runs what all prompts begin with (the shots) once, and then packs many prompts with all their
    choices into one row, each token seeing its own ancestors only. Choices that begin alike share these tokens, in an
    encoder-decoder's decoder too. Sharing changes no choice's tokens.

    Where an ensemble of soft prompts is attached, each prompt is run once for each of them, and they vote.

    Args:
        backbone: Is scored as it is: with what is attached, in eval mode.
        examples: Inputs with their answer choices.
        scoring: How inputs are cut and answers end. With `cache` off each (prompt, choice) is a row of its own through
            the plain model, or through the decoder of an encoder-decoder, unless prompts have adapters of their own.
        shots: What stands before each input, in this order.
        block_shots: Shots of a block, where blocks of them do not see each other (`scoring.blocks`): an approximation,
            of decoder-only models with `cache` on.
        progress: Called with the number of examples that were just finished.
        token_budget: Tokens per forward pass; None suits the device. It does not change the scores beyond rounding.
        row_adapters: Where prompts have adapters of their own: selects those of each forward pass's prompts, each of
            which is then one row with all its choices.

    Raises:
        ModelError: A choice without tokens, two choices with the same tokens, or a prompt longer than the model takes.
        RunError: A log-probability is not finite, or memory does not suffice for one prompt.
    """
    if not examples:
        return Scores([], [], Work())
    started = time.perf_counter()
    encoded = encode(backbone, examples, scoring, shots)
    if block_shots is not None:
        encoded = blocks.marked(backbone, examples, encoded, scoring, shots, block_shots)
    shot_tokens = [num_shot_tokens(backbone, scoring, shots)] * len(examples)
    scores = score_encoded(
        backbone,
        examples,
        encoded,
        shot_tokens,
        cache=scoring.cache,
        progress=progress,
        token_budget=token_budget,
        row_adapters=row_adapters,
    )
    return replace(scores, seconds=time.perf_counter() - started)


def score_encoded(
    backbone: Backbone,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    shot_tokens: Sequence[int],
    *,
    cache: bool,
    is_trie: bool = False,
    progress: Callable[[int], None] | None = None,
    token_budget: int | None = None,
    row_adapters: RowAdapters | None = None,
) -> Scores:
    """Score examples whose prompts are tokens already, each after shots of its own or all after the same.

    Args:
        backbone: As `score`.
        examples: At least one.
        encoded: The prompt of each, shots included.
        shot_tokens: How many tokens of each prompt's context are the shots'.
        cache: As `Scoring`.
        is_trie: Whether prompts of a decoder-only model share what they begin with, where `cache` is on
            (`scoring.trie`); nothing is attached then.
        progress: As `score`.
        token_budget: As `score`.
        row_adapters: As `score`.

    Raises:
        ModelError: A prompt is longer than the model takes.
        RunError: As `score`.
    """
    started = time.perf_counter()
    check_fits(backbone, encoded)
    num_cut = sum(tokens.num_cut_tokens for tokens in encoded)
    members = backbone.num_members
    if members > 1:
        assert row_adapters is None, "an ensemble's rows are its own"
        encoded, row_adapters = [tokens for tokens in encoded for _ in range(members)], _Members(backbone)
    sums: list[list[float]] = [[]] * len(encoded)
    work, num_done = Work(cut_tokens=num_cut), 0
    with torch.inference_mode():
        for indices, log_probs, spent in (
            backbone.remote.batches(encoded)
            if backbone.remote is not None
            else trie.batches(backbone, encoded, token_budget)
            if is_trie and cache and backbone.sizes.is_causal
            else batches(backbone, encoded, cache=cache, budget=token_budget, row_adapters=row_adapters)
        ):
            for index, values in zip(indices, log_probs, strict=True):
                _check_finite(backbone, values)
                sums[index] = values
            work += spent
            before, num_done = num_done // members, num_done + len(indices)
            if progress is not None and num_done // members > before:
                progress(num_done // members - before)
    choices = [_choice_scores(examples[index // members], tokens, sums[index]) for index, tokens in enumerate(encoded)]
    if members > 1:
        choices = [vote(choices[first : first + members]) for first in range(0, len(choices), members)]
    of_shots = [number for number in shot_tokens for _ in range(members)]
    prompts = lengths(backbone, encoded, of_shots)
    return Scores(choices, prompts, work, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Members:
    """An ensemble's soft prompts as adapters of rows, where each prompt comes once for each member, in turn."""

    backbone: Backbone

    def select(self, indices: Sequence[int]) -> AbstractContextManager[None]:
        ensemble: Any = self.backbone.soft_prompt
        members: AbstractContextManager[None] = ensemble.use([index % self.backbone.num_members for index in indices])
        return members


def _check_finite(backbone: Backbone, log_probs: Sequence[float]) -> None:
    if not all(map(math.isfinite, log_probs)):
        raise RunError(f"'{backbone.name}' gives a choice no finite log-probability", hint="--dtype float32")


def _choice_scores(example: Example, encoded: Encoded, sums: Sequence[float]) -> list[ChoiceScore]:
    scores = []
    for text, ids, start, log_prob in zip(example.choices, encoded.choices, encoded.starts, sums, strict=True):
        answer = text.strip()
        scores.append(ChoiceScore(log_prob, len(ids) - start, len(answer), len(answer.encode())))
    return scores
