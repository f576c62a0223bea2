"""Batches of token ids for the trainer, made from a stream of texts.

A stream is a pure function of the step's number: it holds no state, so a build that was killed goes on with the very
batches it would have seen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

IGNORED = -100  # target of a position without a loss


@dataclass(frozen=True)
class Batch:
    """One forward pass.

    Args:
        inputs: Keyword arguments of the model's forward, tensors (batch, ...).
        targets: (batch, length) int64, aligned with the logits; IGNORED where there is no loss.
        weights: (batch, length) float32, the weight of each target's loss.
        num_tokens: Tokens without padding, input and target together.
    """

    inputs: dict[str, Tensor]
    targets: Tensor
    weights: Tensor
    num_tokens: int


Stream = Callable[[int], list[Batch]]  # step -> the micro-batches whose gradients add up
Measure = Callable[[Any, PreTrainedTokenizerFast], dict[str, float]]  # (model, tokenizer) -> what the model card shows
Pair = Callable[[random.Random], tuple[str, str]]  # draws (input text, target text)


@dataclass(frozen=True)
class Material:
    """Everything that one of the lab's models is trained and measured on.

    Args:
        corpus: The text that its tokenizer is trained on.
        stream: Makes the stream of batches once there is a tokenizer.
        measure: Looks at the finished model: name of a figure -> figure; on validation families and training loss only.
    """

    corpus: list[str]
    stream: Callable[[PreTrainedTokenizerFast], Stream]
    measure: Measure


def step_random(seed: int, step: int) -> random.Random:
    """Return the generator that draws all examples of one step."""
    return random.Random(f"{seed}/{step}")


def seq2seq_stream(
    draw: Pair,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    examples_per_step: int = 128,
    num_micro_batches: int = 4,
    max_tokens: int = 512,
) -> Stream:
    """Batch (input, target) pairs for an encoder-decoder, in micro-batches of like lengths so that little is padded.

    Each pair has the same weight, however long its target: an answer of one word counts as much as a sentence.

    Args:
        draw: Draws one pair of texts; all its chance must come from the generator it is given.
        tokenizer: Appends the end token itself.
        seed: Of the stream.
        examples_per_step: Pairs a step.
        num_micro_batches: Forward passes a step.
        max_tokens: Cut inputs and targets here, which keeps a rare long one from filling the memory.
    """

    def stream(step: int) -> list[Batch]:
        rng = step_random(seed, step)
        pairs = [draw(rng) for _ in range(examples_per_step)]
        inputs = tokenizer([pair[0] for pair in pairs])["input_ids"]
        targets = tokenizer([pair[1] for pair in pairs])["input_ids"]
        rows = sorted(zip(inputs, targets, strict=True), key=lambda row: (len(row[1]), len(row[0])))
        size = -(-len(rows) // num_micro_batches)
        halves = [sorted(rows[i : i + 2 * size], key=lambda row: len(row[0])) for i in range(0, len(rows), 2 * size)]
        parts = [half[i : i + size] for half in halves for i in range(0, len(half), size)]
        return [_seq2seq_batch(part, max_tokens) for part in parts]

    return stream


def _seq2seq_batch(rows: list[tuple[list[int], list[int]]], max_tokens: int) -> Batch:
    inputs = pad([row[0][:max_tokens] for row in rows], 0)
    targets = pad([row[1][:max_tokens] for row in rows], IGNORED)
    mask = pad([[1] * len(row[0][:max_tokens]) for row in rows], 0)
    decoder = targets.roll(1, dims=1).masked_fill(targets.roll(1, dims=1) == IGNORED, 0)
    decoder[:, 0] = 0  # T5 starts its decoder with the padding token
    valid = targets != IGNORED
    return Batch(
        {"input_ids": inputs, "attention_mask": mask, "decoder_input_ids": decoder},
        targets,
        valid / valid.sum(1, keepdim=True),
        int(mask.sum() + valid.sum()),
    )


def causal_batch(rows: list[list[int]], weights: list[list[float]]) -> Batch:
    """Batch rows of token ids for a decoder: position i predicts token i + 1.

    Args:
        rows: Token ids, all rows of one length (short ones are padded at the end with weight 0).
        weights: The weight of each token's loss where it is the target; the first has none to give.
    """
    ids = pad(rows, 0)
    weight = torch.zeros(ids.shape)
    for i, row in enumerate(weights):
        weight[i, : len(row)] = torch.tensor(row)
    targets = ids[:, 1:].masked_fill(weight[:, 1:] == 0, IGNORED)
    return Batch({"input_ids": ids[:, :-1]}, targets, weight[:, 1:], sum(map(len, rows)))


def pad(rows: Sequence[Sequence[float]], value: int) -> Tensor:
    """Make one tensor of rows, (rows, length of the longest), with a value behind the shorter ones."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows])
