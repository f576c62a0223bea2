"""Scoring answer choices: the one place where in-context learning and tuning are both evaluated."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from peftbench.errors import RunError
from peftbench.models import tree
from peftbench.models.backbone import Backbone
from peftbench.models.encoding import Encoded, Prompt, check_fits, encode_all, num_common, num_virtual_tokens
from peftbench.models.forward import answer_log_probs, decoder_states, log_probs_at
from peftbench.models.plain import plain_log_probs
from peftbench.models.tree import Answers, Tokens
from peftbench.record import Normalization

SCORER_VERSION = 1
NORMALIZATIONS: tuple[Normalization, ...] = ("token", "char", "byte", "none")
# Tokens per forward pass, measured: on a CPU longer packed rows only make attention's square larger; a GPU wants to
# be filled.
PACKED_BUDGET, FOLDED_BUDGET, GPU_BUDGET = 512, 1024, 4096


Rows = Callable[[Sequence[int]], AbstractContextManager[None]]
"""Given the indices of the prompts of a forward pass, makes each row go through what is its own."""


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
class Length:
    """Tokens of one prompt as the model takes them.

    Args:
        context: Tokens that all choices share, shots and virtual tokens included.
        choices: Tokens of each choice that are fed; a decoder-only model's last one is only predicted.
        shots: How many tokens of the context are the shots'.
    """

    context: int
    choices: tuple[int, ...]
    shots: int = 0


@dataclass(frozen=True)
class Pass:
    """The shape of one forward pass, padding included.

    Args:
        encoder_rows: 0 for decoder-only models.
        encoder_tokens: Tokens of a row.
        decoder_rows: Rows of the decoder, or of a decoder-only model.
        decoder_tokens: Tokens of a row that are run.
        cached_tokens: Tokens before them whose keys and values are read.
        head_tokens: Tokens that pass the LM head.
    """

    encoder_rows: int
    encoder_tokens: int
    decoder_rows: int
    decoder_tokens: int
    cached_tokens: int
    head_tokens: int


@dataclass(frozen=True)
class Work:
    """Tokens that went through the model, as run.

    Args:
        shared_tokens: What all prompts begin with, virtual tokens included; run once.
        context_tokens: The rest of the prompts' contexts.
        choice_tokens: Tokens of the choices that were fed.
        padding_tokens: Tokens run for nothing.
        cached: Whether prompts shared keys and values.
        passes: The forward passes.
    """

    shared_tokens: int = 0
    context_tokens: int = 0
    choice_tokens: int = 0
    padding_tokens: int = 0
    cached: bool = False
    passes: tuple[Pass, ...] = ()


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

    Args:
        backbone: Is scored as it is: with what is attached, in eval mode.
        prompts: Inputs hold the shots.
        end: "eos", "separator" or "none": what closes an answer and is scored with it.
        separator: The text between shots.
        cache: False runs each (prompt, choice) as a row of its own through the plain model.
        progress: Called with the number of prompts that were just finished.
        token_budget: Tokens per forward pass; None suits the device. It does not change the scores beyond rounding.
        rows: Where prompts differ in what is attached for them: entered for each forward pass, with the indices of its
            prompts, each of which is then one row.

    Raises:
        ModelError: A choice without tokens, two choices with the same tokens, or a prompt longer than the model takes.
        RunError: A log-probability is not finite.
    """
    if not prompts:
        return Scores([], [], Work())
    encoded = encode_all(backbone, prompts, end=end, separator=separator)
    budget = token_budget or _budget(backbone)
    if not backbone.is_encoder_decoder:
        check_fits(backbone, encoded)
    sums: list[list[float]] = [[]] * len(encoded)
    work = Work()
    with torch.inference_mode():
        for indices, found, spent in _run(backbone, encoded, cache, budget, rows):
            for index, log_probs in zip(indices, found, strict=True):
                if not all(map(math.isfinite, log_probs)):
                    raise RunError(
                        f"'{backbone.name}' gives a choice no finite log-probability", hint="--dtype float32"
                    )
                sums[index] = log_probs
            work = plus(work, spent)
            if progress is not None and indices:
                progress(len(indices))
    choices = [_choice_scores(*each) for each in zip(prompts, encoded, sums, strict=True)]
    unfed = 0 if backbone.is_encoder_decoder else 1
    virtual = num_virtual_tokens(backbone)
    lengths = [Length(virtual + len(each.context), tuple(len(ids) - unfed for ids in each.choices)) for each in encoded]
    return Scores(choices, lengths, work)


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


def _budget(backbone: Backbone) -> int:
    if backbone.device.type != "cpu":
        return GPU_BUDGET
    return FOLDED_BUDGET if backbone.is_encoder_decoder else PACKED_BUDGET


Batch = tuple[list[int], list[list[float]], Work]


def _run(
    backbone: Backbone, encoded: Sequence[Encoded], cache: bool, budget: int, rows: Rows | None
) -> Iterator[Batch]:
    if backbone.is_encoder_decoder:
        return _folded(backbone, encoded, budget, rows or _alike)
    if rows is not None:
        return _branched(backbone, encoded, budget, rows)
    return _packed(backbone, encoded, budget) if cache else _plain(backbone, encoded, budget)


def _alike(_indices: Sequence[int]) -> AbstractContextManager[None]:
    return nullcontext()


def _folded(backbone: Backbone, encoded: Sequence[Encoded], budget: int, rows_of: Rows) -> Iterator[Batch]:
    """Encoder-decoders: batches of like length, the choices folded."""
    virtual = num_virtual_tokens(backbone)
    for indices in _batches([_cost(each) for each in encoded], budget, padded=True):
        batch = [encoded[index] for index in indices]
        with rows_of(indices):
            picked, answers = answer_log_probs(backbone, batch)
        context = sum(virtual + len(each.context) for each in batch)
        fed = sum(map(len, (ids for each in batch for ids in each.choices)))
        rows = len(batch) * max(len(each.choices) for each in batch)
        longest, length = virtual + max(len(each.context) for each in batch), 1 + max(answers.slots)
        run = len(batch) * longest + rows * length
        passed = Pass(len(batch), longest, rows, length, 0, _num_predicting(answers))
        work = Work(0, context, fed, run - context - fed, passes=(passed,))
        yield indices, _sums(picked.tolist(), answers, batch), work


def _branched(backbone: Backbone, encoded: Sequence[Encoded], budget: int, rows_of: Rows) -> Iterator[Batch]:
    """Decoder-only, a row for each prompt: its choices branch off its context."""
    virtual = num_virtual_tokens(backbone)
    for indices in _batches([_cost(each) for each in encoded], budget, padded=True):
        batch = [encoded[index] for index in indices]
        with rows_of(indices):
            picked, answers = answer_log_probs(backbone, batch)
        context = sum(virtual + len(each.context) for each in batch)
        fed = sum(len(ids) - 1 for each in batch for ids in each.choices)
        longest = virtual + max(_cost(each) - len(each.choices) for each in batch)
        passed = Pass(0, 0, len(batch), longest, 0, _num_predicting(answers))
        work = Work(0, context, fed, len(batch) * longest - context - fed, passes=(passed,))
        yield indices, _sums(picked.tolist(), answers, batch), work


def _packed(backbone: Backbone, encoded: Sequence[Encoded], budget: int) -> Iterator[Batch]:
    """Decoder-only: the common prefix once, then prompts packed into one row after it."""
    virtual = num_virtual_tokens(backbone)
    # Each prompt keeps its last context token: what predicts the first answer token must be run.
    contexts = [each.context for each in encoded]
    skip = min(num_common(contexts), min(map(len, contexts)) - 1)
    cached, cache = tree.shared_tokens(virtual, encoded[0].context[:skip]), DynamicCache()
    size = len(cached.ids)
    if size:
        decoder_states(backbone, [cached], num_virtual=virtual, cache=cache)
        yield [], [], Work(shared_tokens=size, cached=True, passes=(Pass(0, 0, 1, size, 0, 0),))
    for indices in _batches([_cost(each) - skip for each in encoded], budget, padded=False):
        batch, row, answers = [encoded[index] for index in indices], Tokens(), Answers()
        for prompt, each in enumerate(batch):
            tree.plant(row, answers, 0, prompt, each, skip, virtual)
        hidden = decoder_states(backbone, [row], cache=cache if size else None, num_cached=size)
        picked = log_probs_at(backbone, hidden, answers)
        if size:
            cache.crop(-len(row.ids))
        context = sum(len(each.context) - skip for each in batch)
        passed = Pass(0, 0, 1, len(row.ids), size, _num_predicting(answers))
        work = Work(0, context, len(row.ids) - context, 0, bool(size), (passed,))
        yield indices, _sums(picked.tolist(), answers, batch), work


def _plain(backbone: Backbone, encoded: Sequence[Encoded], budget: int) -> Iterator[Batch]:
    """Decoder-only without sharing: one full row per (prompt, choice)."""
    for indices in _batches([_cost(each) for each in encoded], budget, padded=True):
        batch = [encoded[index] for index in indices]
        picked, answers, num_run = plain_log_probs(backbone, batch)
        virtual = num_virtual_tokens(backbone)
        context = sum((virtual + len(each.context)) * len(each.choices) for each in batch)
        fed = sum(len(ids) - 1 for each in batch for ids in each.choices)
        rows = sum(len(each.choices) for each in batch)
        passed = Pass(0, 0, rows, num_run // rows, 0, _num_predicting(answers))
        work = Work(0, context, fed, num_run - context - fed, passes=(passed,))
        yield indices, _sums(picked.tolist(), answers, batch), work


def _batches(costs: Sequence[int], budget: int, *, padded: bool) -> Iterator[list[int]]:
    """Group prompts of like length under a token budget, longest first: memory runs out at once or never."""
    batch: list[int] = []
    total = 0
    for index in sorted(range(len(costs)), key=costs.__getitem__, reverse=True):
        cost = costs[batch[0]] if padded and batch else costs[index]
        if batch and total + cost > budget:
            yield batch
            batch, total, cost = [], 0, costs[index]
        batch.append(index)
        total += cost
    yield batch


def _num_predicting(answers: Answers) -> int:
    """Count the tokens that pass the LM head: the first tokens of a prompt's choices are predicted by one."""
    return len(set(zip(answers.rows, answers.sources, strict=True)))


def _cost(encoded: Encoded) -> int:
    return len(encoded.context) + sum(map(len, encoded.choices))


def _sums(picked: Sequence[float], answers: Answers, batch: Sequence[Encoded]) -> list[list[float]]:
    sums = [[0.0] * len(each.choices) for each in batch]
    for value, prompt, choice in zip(picked, answers.prompts, answers.choices, strict=True):
        sums[prompt][choice] += value
    return sums


def _choice_scores(prompt: Prompt, encoded: Encoded, sums: Sequence[float]) -> list[ChoiceScore]:
    scores = []
    for text, ids, start, log_prob in zip(prompt.choices, encoded.choices, encoded.starts, sums, strict=True):
        answer = text.strip()
        scores.append(ChoiceScore(log_prob, len(ids) - start, len(answer), len(answer.encode())))
    return scores


def plus(a: Work, b: Work) -> Work:
    """Add up two pieces of work."""
    return Work(
        a.shared_tokens + b.shared_tokens,
        a.context_tokens + b.context_tokens,
        a.choice_tokens + b.choice_tokens,
        a.padding_tokens + b.padding_tokens,
        a.cached or b.cached,
        a.passes + b.passes,
    )
