"""mini-bert's stream: what is masked, what stays, and that a text is masked as a cloze is."""

from __future__ import annotations

import random

import pytest

from peftbench.lab.text.batches import IGNORED
from peftbench.lab.text.masks import MaskedRow, masked_row, masked_stream
from peftbench.lab.text.mixture import draw_pair, pairs, wordings
from peftbench.lab.training.mini_t0 import corpus
from peftbench.lab.training.tokenizer import train_tokenizer
from peftbench.lab.world.lexicon import lexicon
from peftbench.lab.world.world import World

WORLD = World.generate(0)
TOKENIZER = train_tokenizer(corpus(WORLD, pairs(WORLD), 0, 300), 2048, append_eos=True, has_mask=True, max_length=128)


def restored(row: MaskedRow) -> list[int]:
    """The tokens of the row before it was masked."""
    return [target or token for token, target in zip(row.ids, row.targets, strict=True)]


@pytest.mark.parametrize("family", sorted(wordings()["weights"]))
def test_of_a_pair_words_of_the_answer_are_masked_and_nothing_else(family: str) -> None:
    rng = random.Random(family)
    for _ in range(20):
        source, target = draw_pair(WORLD, rng, family)
        row = masked_row(TOKENIZER, [(source, target)], rng)
        ids = TOKENIZER(f"{source} {target}", truncation=True)["input_ids"]
        assert restored(row) == ids
        masked = [place for place, weight in enumerate(row.weights) if weight]
        assert masked == [place for place, token in enumerate(row.ids) if token == TOKENIZER.mask_token_id]
        assert sum(row.weights) == pytest.approx(1)
        assert min(masked) >= len(TOKENIZER(source)["input_ids"]) - 1  # behind the question, whose end is not there


def test_an_answer_of_one_word_is_masked_as_its_cloze_is() -> None:
    row = masked_row(TOKENIZER, [("The pear was cold.\nIs it cold?", "yes")], random.Random(0))
    assert row.ids == TOKENIZER("The pear was cold.\nIs it cold? <mask>")["input_ids"]
    inside = TOKENIZER("It was cold. The pear.")["input_ids"]
    cloze = TOKENIZER("It was <mask>. The pear.")["input_ids"]
    assert [a == b for a, b in zip(inside, cloze, strict=True)].count(False) == 1


def test_of_plain_text_a_fifth_is_masked_and_never_a_held_out_label() -> None:
    rng = random.Random(0)
    rows = [masked_row(TOKENIZER, [("", WORLD.passage(rng))], rng) for _ in range(300)]
    shares = sum(weight > 0 for row in rows for weight in row.weights) / sum(len(row.ids) for row in rows)
    assert 0.15 < shares < 0.25
    words = {TOKENIZER.decode([target]).lower() for row in rows for target in row.targets if target}
    assert not words & set(lexicon().reserved)


def test_texts_of_a_row_have_the_same_weight_and_a_long_row_is_cut() -> None:
    texts = [("What is a pear?", "a fruit"), ("", "A cold pear was red.")]
    row = masked_row(TOKENIZER, texts, random.Random(1))
    assert sum(row.weights) == pytest.approx(2)
    assert len(masked_row(TOKENIZER, [("", "A cold pear was red. " * 60)], random.Random(0)).ids) == 128


def test_equal_steps_have_equal_batches_of_like_lengths() -> None:
    stream = masked_stream(pairs(WORLD), WORLD.passage, TOKENIZER, 0, text_share=0.3, texts_per_step=32)
    first, second = stream(7), stream(7)
    assert len(first) == 4
    for batch, again in zip(first, second, strict=True):
        assert batch.inputs["input_ids"].equal(again.inputs["input_ids"])
        assert batch.targets.equal(again.targets)
        assert ((batch.targets != IGNORED) == (batch.weights > 0)).all()
        assert batch.num_tokens == batch.inputs["attention_mask"].sum()
