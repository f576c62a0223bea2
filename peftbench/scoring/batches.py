"""Batching: which tokens of which prompts stand in one row, and what is run once for many of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import DynamicCache

from peftbench.errors import RunError
from peftbench.models.backbone import Backbone
from peftbench.scoring import cloze, packing, prefill, tree
from peftbench.scoring.encoding import Encoded, num_common, num_virtual_tokens
from peftbench.scoring.forward import answer_log_probs, decoder_states, log_probs_at
from peftbench.scoring.plain import plain_log_probs
from peftbench.scoring.tree import Answers, Tokens
from peftbench.scoring.work import Pass, Work

# Tokens per forward pass, measured: on a CPU longer packed rows only make attention's square larger; a GPU wants to
# be filled.
PACKED_BUDGET, FOLDED_BUDGET, GPU_BUDGET = 512, 1024, 4096
# How PyTorch's allocators say it where there is no class for it: on the CPU, and on MPS.
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")

Sums = list[list[float]]
"""Per prompt of a batch, per choice: the answer tokens' log-probabilities added up."""
Batch = tuple[list[int], Sums, Work]


class RowAdapters(Protocol):
    """Adapters that differ from prompt to prompt, each of which is then one row of a forward pass."""

    def select(self, indices: Sequence[int]) -> AbstractContextManager[None]:
        """Run a forward pass of the prompts `indices`, each row through its own adapter."""
        ...


@dataclass(frozen=True)
class Batching:
    """How batches of prompts are run.

    Args:
        costs: Tokens of each prompt.
        padded: Whether each prompt of a batch takes as many tokens as its longest.
        run: Takes the prompts' indices, returns their sums and the work done.
        start: The work done once, before the first batch.
        recover: Restores what all batches share after `run` has failed halfway.
    """

    costs: Sequence[int]
    padded: bool
    run: Callable[[Sequence[int]], tuple[Sums, Work]]
    start: Work | None = None
    recover: Callable[[], None] = lambda: None


def batches(
    backbone: Backbone, encoded: Sequence[Encoded], *, cache: bool, budget: int | None, row_adapters: RowAdapters | None
) -> Iterator[Batch]:
    """Run all prompts, in batches that suit the device and its memory.

    Where memory does not suffice, batches become half as large, and the work says so.

    Args:
        backbone: As it is.
        encoded: At least one prompt.
        cache: Whether choices share what they begin with, and a decoder-only model's prompts too.
        budget: Tokens per forward pass; None suits the device.
        row_adapters: As in `scoring.score.score`.

    Raises:
        RunError: Memory does not suffice for one prompt.
    """
    budget = budget or token_budget(backbone)
    with memory_for(_too_large(backbone, max(len(tokens.context) for tokens in encoded))):
        batching = _batching(backbone, encoded, cache, budget, row_adapters)
    if batching.start is not None:
        yield [], [], batching.start
    # Longest first: memory runs out at once or never.
    order = sorted(range(len(encoded)), key=batching.costs.__getitem__, reverse=True)
    while order:
        indices = first_batch(order, batching.costs, budget, padded=batching.padded)
        try:
            sums, work = batching.run(indices)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            batching.recover()
            if len(indices) == 1:
                raise _too_large(backbone, batching.costs[indices[0]]) from error
            budget = max(1, sum(batching.costs[index] for index in indices) // 2)
            yield [], [], Work(num_halvings=1)
            continue
        order = order[len(indices) :]
        yield indices, sums, work


def _batching(
    backbone: Backbone, encoded: Sequence[Encoded], cache: bool, budget: int, row_adapters: RowAdapters | None
) -> Batching:
    if backbone.sizes.is_encoder_only:
        return _in_rows(backbone, encoded, row_adapters or _Alike(), is_shared=cache)
    is_packed = not backbone.is_encoder_decoder and row_adapters is None and cache
    assert is_packed or encoded[0].blocks is None, "blocks of shots are run once, and their keys and values kept"
    if is_packed:
        return _packed(backbone, encoded, budget)
    if backbone.is_encoder_decoder:
        by_choice = _branched if cache else _folded
        return by_choice(backbone, encoded, row_adapters or _Alike())
    return _plain(backbone, encoded) if row_adapters is None else _branched(backbone, encoded, row_adapters)


def token_budget(backbone: Backbone) -> int:
    """Return the tokens per forward pass that suit the device."""
    if backbone.device.type != "cpu":
        return GPU_BUDGET
    return PACKED_BUDGET if backbone.sizes.is_causal else FOLDED_BUDGET


def first_batch(order: Sequence[int], costs: Sequence[int], budget: int, *, padded: bool) -> list[int]:
    """Take prompts from the front as long as the budget lasts, at least one.

    Args:
        order: Indices of the prompts.
        costs: Tokens of each prompt.
        budget: Tokens per forward pass.
        padded: Whether each prompt takes as many tokens as the batch's longest.
    """
    batch: list[int] = []
    total = 0
    for index in order:
        total += costs[order[0] if padded else index]
        if batch and total > budget:
            break
        batch.append(index)
    return batch


@contextmanager
def memory_for(failure: RunError) -> Iterator[None]:
    """Raise `failure` in place of an error that says that memory does not suffice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise failure from error


def _is_out_of_memory(error: BaseException) -> bool:
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(words in str(error) for words in OUT_OF_MEMORY)


def _too_large(backbone: Backbone, num_tokens: int) -> RunError:
    return RunError(
        f"memory on {backbone.device_names} does not suffice for one prompt of {num_tokens:,} tokens with "
        f"'{backbone.name}'",
        hint="finished records are kept; --shots, --max-input-tokens or --dtype bfloat16 make it smaller",
    )


class _Alike:
    """Rows that all run through what is attached."""

    def select(self, indices: Sequence[int]) -> AbstractContextManager[None]:
        return nullcontext()


def _folded(backbone: Backbone, encoded: Sequence[Encoded], row_adapters: RowAdapters) -> Batching:
    """Encoder-decoders without sharing but for the input: each choice is a row of the decoder."""
    virtual, more = num_virtual_tokens(backbone), backbone.sizes.num_fed_more

    def run(indices: Sequence[int]) -> tuple[Sums, Work]:
        batch = [encoded[index] for index in indices]
        with row_adapters.select(indices):
            picked, answers = answer_log_probs(backbone, batch, is_shared=False)  # (answer tokens,)
        shape = Pass.of_encoder_decoder(
            inputs=len(batch),
            input_tokens=virtual + max(len(tokens.context) for tokens in batch),
            answers=len(batch) * max(len(tokens.choices) for tokens in batch),
            answer_tokens=1 + more + max(answers.slots),
            head=answers.num_predicting,
        )
        fed = sum(len(ids) + more for tokens in batch for ids in tokens.choices)
        return _sums(picked.tolist(), answers, batch), _work(batch, virtual, fed, shape)

    return Batching([_cost(tokens) for tokens in encoded], True, run)


def _branched(backbone: Backbone, encoded: Sequence[Encoded], row_adapters: RowAdapters) -> Batching:
    """A row for each prompt, in which its choices branch off its context, or off the start of the decoder."""
    virtual, start = num_virtual_tokens(backbone), len(backbone.start_ids) if backbone.is_encoder_decoder else 0

    def run(indices: Sequence[int]) -> tuple[Sums, Work]:
        batch = [encoded[index] for index in indices]
        with row_adapters.select(indices):
            picked, answers = answer_log_probs(backbone, batch)  # (answer tokens,)
        contexts, fed = [len(tokens.context) for tokens in batch], [len(tree.branches(tokens).ids) for tokens in batch]
        alone = [[index] for index in range(len(batch))]
        shape = packing.shape(backbone.sizes, alone, contexts, fed, virtual, answers.num_predicting)
        return _sums(picked.tolist(), answers, batch), _work(batch, virtual, sum(fed) + start * len(batch), shape)

    return Batching([_cost(tokens) for tokens in encoded], True, run)


def _packed(backbone: Backbone, encoded: Sequence[Encoded], budget: int) -> Batching:
    """Decoder-only: the common prefix once, then prompts packed into one row after it."""
    virtual = num_virtual_tokens(backbone)
    # Each prompt keeps its last context token: what predicts the first answer token must be run.
    contexts = [tokens.context for tokens in encoded]
    skip = min(num_common(contexts), min(map(len, contexts)) - 1)
    cache, size = DynamicCache(), virtual + skip
    blocks = encoded[0].blocks
    prefill.fill(backbone, virtual, encoded[0].context[:skip], cache, budget, blocks)

    def forget() -> None:
        for layer in cache.layers:  # each by itself: after a failure in the middle, some have grown and some have not
            layer.crop(size - layer.get_seq_length())

    def run(indices: Sequence[int]) -> tuple[Sums, Work]:
        batch, row, answers = [encoded[index] for index in indices], Tokens(), Answers()
        for prompt, tokens in enumerate(batch):
            tree.add_prompt(row, answers, 0, prompt, tokens, skip, virtual)
        hidden = decoder_states(backbone, [row], cache=cache if size else None, num_cached=size)  # (1, tokens, d_model)
        picked = log_probs_at(backbone, hidden, answers)  # (answer tokens,)
        forget()
        context = sum(len(tokens.context) - skip for tokens in batch)
        shape = Pass.of_decoder(rows=1, tokens=len(row.ids), cached=size, head=answers.num_predicting)
        work = Work(context_tokens=context, choice_tokens=len(row.ids) - context, passes=(shape,))
        return _sums(picked.tolist(), answers, batch), work

    start = Work(shared_tokens=size, passes=tuple(prefill.passes(virtual, size, budget, blocks))) if size else None
    return Batching([_cost(tokens) - skip for tokens in encoded], False, run, start, forget)


def _plain(backbone: Backbone, encoded: Sequence[Encoded]) -> Batching:
    """Decoder-only without sharing: one full row per (prompt, choice)."""
    virtual = num_virtual_tokens(backbone)

    def run(indices: Sequence[int]) -> tuple[Sums, Work]:
        batch = [encoded[index] for index in indices]
        picked, answers, num_run = plain_log_probs(backbone, batch)  # (answer tokens,)
        rows = sum(len(tokens.choices) for tokens in batch)
        shape = Pass.of_decoder(rows=rows, tokens=num_run // rows, head=answers.num_predicting)
        whole = [tokens for tokens in batch for _ in tokens.choices]  # the context is run again for each choice
        fed = sum(len(ids) - 1 for tokens in batch for ids in tokens.choices)
        return _sums(picked.tolist(), answers, batch), _work(whole, virtual, fed, shape)

    return Batching([_cost(tokens) for tokens in encoded], True, run)


def _in_rows(backbone: Backbone, encoded: Sequence[Encoded], row_adapters: RowAdapters, *, is_shared: bool) -> Batching:
    """Encoder-only: rows for each prompt, in each of which the place of one token is predicted."""
    virtual = num_virtual_tokens(backbone)

    def run(indices: Sequence[int]) -> tuple[Sums, Work]:
        batch = [encoded[index] for index in indices]
        of_each = [cloze.rows(tokens, is_shared=is_shared) for tokens in batch]
        with row_adapters.select([index for index, rows in zip(indices, of_each, strict=True) for _ in rows]):
            picked, answers = answer_log_probs(backbone, batch, is_shared=is_shared)  # (answer tokens,)
        rows = [(tokens, len(row.ids)) for tokens, rows in zip(batch, of_each, strict=True) for row in rows]
        longest = virtual + max(number for _, number in rows)
        shape = Pass.of_decoder(rows=len(rows), tokens=longest, head=answers.num_predicting)
        fed = sum(number - tokens.num_around for tokens, number in rows)
        return _sums(picked.tolist(), answers, batch), _work([tokens for tokens, _ in rows], virtual, fed, shape)

    costs = [sum(virtual + len(row.ids) for row in cloze.rows(tokens, is_shared=is_shared)) for tokens in encoded]
    return Batching(costs, True, run)


def _work(contexts: Sequence[Encoded], virtual: int, fed: int, shape: Pass) -> Work:
    """Count what a padded pass ran: contexts, `fed` tokens of choices, and padding for the rest."""
    context = sum(virtual + tokens.num_around for tokens in contexts)
    padding = shape.num_tokens - context - fed
    return Work(context_tokens=context, choice_tokens=fed, padding_tokens=padding, passes=(shape,))


def _cost(encoded: Encoded) -> int:
    return len(encoded.context) + len(tree.branches(encoded).ids)


def _sums(picked: Sequence[float], answers: Answers, batch: Sequence[Encoded]) -> Sums:
    sums = [[0.0] * len(tokens.choices) for tokens in batch]
    for value, prompt, choice in zip(picked, answers.prompts, answers.choices, strict=True):
        sums[prompt][choice] += value
    return sums
