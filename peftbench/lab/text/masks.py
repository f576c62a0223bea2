"""mini-bert's stream: plain text with masked words, and mini-t0's pairs with the answer behind the question, masked.

A word is masked from one of its tokens on, as it is where a cloze is scored: what is left of it stands to the left. A
word that a held-out task has for its label is never masked, so that it is nobody's answer in training.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from peftbench.lab.text.batches import IGNORED, Batch, Pair, Stream, pad, step_random
from peftbench.lab.world.lexicon import lexicon

TEXT_SHARE = 0.2  # of the words of plain text, masked
NUM_TEXTS = (1, 1, 1, 2, 4)  # in a row, as likely as each other: the model's later positions are trained, too
BETWEEN = "\n\n"


@dataclass(frozen=True)
class MaskedRow:
    """One row: token ids with masks, and for each masked token its id and the weight of its loss; 0 elsewhere."""

    ids: list[int]
    targets: list[int]
    weights: list[float]


def masked_stream(
    draw: Pair,
    passage: Callable[[random.Random], str],
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    *,
    text_share: float,
    texts_per_step: int = 128,
    num_micro_batches: int = 4,
) -> Stream:
    """Batch masked texts, rows of like lengths together. Each text has the same weight, however much of it is masked.

    Args:
        draw: Draws a pair of question and answer; all its chance must come from the generator it is given.
        passage: Draws plain text, likewise.
        tokenizer: Has a mask; cuts rows to the length that the model takes.
        seed: Of the stream.
        text_share: Share of plain text.
        texts_per_step: Texts a step.
        num_micro_batches: Forward passes a step.
    """

    def stream(step: int) -> list[Batch]:
        rng = step_random(seed, step)
        rows, num_texts = [], 0
        while num_texts < texts_per_step:
            number = rng.choice(NUM_TEXTS)
            texts = [("", passage(rng)) if rng.random() < text_share else draw(rng) for _ in range(number)]
            rows.append(masked_row(tokenizer, texts, rng))
            num_texts += number
        rows.sort(key=lambda row: len(row.ids))
        size = -(-len(rows) // num_micro_batches)
        return [_batch(rows[start : start + size]) for start in range(0, len(rows), size)]

    return stream


def masked_row(tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, str]], rng: random.Random) -> MaskedRow:
    """Write texts into one row and mask words of each: of a pair those of its answer, half of the time all of them.

    Args:
        tokenizer: Has a mask, and offsets.
        texts: (question, answer); of plain text the question is empty.
        rng: The source of chance.
    """
    written, spans = "", []
    for source, target in texts:
        written += (BETWEEN if written else "") + (f"{source} " if source else "")
        spans.append((len(written), len(written) + len(target)))
        written += target
    encoding = tokenizer(written, truncation=True, return_offsets_mapping=True)
    ids, words, offsets = encoding["input_ids"], encoding.word_ids(), encoding["offset_mapping"]
    row = MaskedRow(list(ids), [0] * len(ids), [0.0] * len(ids))
    for (source, _), (start, end) in zip(texts, spans, strict=True):
        places: dict[int, list[int]] = {}
        for place, (word, (first, last)) in enumerate(zip(words, offsets, strict=True)):
            if word is not None and last > start and last <= end and first < last:
                places.setdefault(word, []).append(place)
        masked = [
            place
            for of_word in _drawn(list(places.values()), rng, is_answer=bool(source))
            if written[offsets[of_word[0]][0] : offsets[of_word[-1]][1]].strip().lower() not in lexicon().reserved
            for place in of_word[rng.randrange(len(of_word)) :]
        ]
        for place in masked:
            row.ids[place], row.targets[place] = tokenizer.mask_token_id, ids[place]
            row.weights[place] = 1 / len(masked)
    return row


def _drawn(words: list[list[int]], rng: random.Random, *, is_answer: bool) -> list[list[int]]:
    """Draw the words to be masked, at least one where there are some."""
    share = TEXT_SHARE if not is_answer else 1.0 if rng.random() < 0.5 else rng.random()
    drawn = [word for word in words if rng.random() < share]
    return drawn or rng.sample(words, min(1, len(words)))


def _batch(rows: list[MaskedRow]) -> Batch:
    weights = pad([row.weights for row in rows], 0)
    return Batch(
        {
            "input_ids": pad([row.ids for row in rows], 0),
            "attention_mask": pad([[1] * len(row.ids) for row in rows], 0),
        },
        torch.where(weights > 0, pad([row.targets for row in rows], 0), IGNORED),
        weights,
        sum(len(row.ids) for row in rows),
    )
