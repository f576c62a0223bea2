"""mini-gpt's stream: labels are what is learnt, they follow from the text, and nothing of a held-out task is in it."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from peftbench.lab.text import episodes
from peftbench.lab.text.episodes import LEVELS, Stage, corpus, episode, episode_stream, stage_at
from peftbench.lab.text.split import Guard
from peftbench.lab.text.styles import BARE, LISTED, OPEN, PLAIN, SEPARATORS, Style, draw_style
from peftbench.lab.training.curve import icl_curve, unseen_episodes
from peftbench.lab.training.tokenizer import train_tokenizer
from peftbench.lab.world.world import HELD, World, part_of

WORLD = World.generate(0)
TOKENIZER = train_tokenizer(corpus(WORLD, 0, num_rows=300), 2048, append_eos=False, max_length=4096)


def label_texts(row: episodes.Row) -> list[str]:
    """The text of each shot's label tokens, in order; the last shot may be cut off and is left out."""
    ids: dict[int, list[int]] = {}
    for token, shot in zip(row.ids, row.shots, strict=True):
        if shot >= 0:
            ids.setdefault(shot, []).append(token)
    return [TOKENIZER.decode(tokens).strip() for tokens in ids.values()][:-1]


@pytest.mark.parametrize("level", LEVELS)
def test_the_loss_lies_on_the_labels_and_nowhere_else(level: str) -> None:
    for seed in range(20):
        row = episode(WORLD, TOKENIZER, random.Random(seed), level, Stage(0, 256, bare_share=0.2, plain_share=0.3))
        assert len(row.ids) == 256
        assert set(label_texts(row)) <= set(row.labels)
        assert len(label_texts(row)) >= 4
        assert [weight > 0 for weight in row.weights] == [shot >= 0 for shot in row.shots]


def test_a_text_has_the_same_label_throughout_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "draw_style", lambda *_: Style("{text} ->", "\n", {}))
    for seed in range(20):
        row = episode(WORLD, TOKENIZER, random.Random(seed), "word", Stage(0, 200, plain_share=1.0))
        label_of: dict[str, str] = {}
        for line in TOKENIZER.decode(row.ids).split("\n")[:-1]:
            text, _, label = line.partition(" -> ")
            assert label_of.setdefault(text, label) == label
            assert label in row.labels
        assert len(set(label_of.values())) > 1


def test_training_sentences_and_those_of_the_curve_are_of_different_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episodes, "draw_style", lambda *_: Style("", "\n", {}))
    row = episode(WORLD, TOKENIZER, random.Random(0), "sentence", Stage(0, 256, plain_share=1.0))
    unseen = unseen_episodes(WORLD, TOKENIZER, "sentence", 256, count=1)[0]
    for is_held, episode_row in ((False, row), (True, unseen)):
        sentences = [line.rpartition(". ")[0] + "." for line in TOKENIZER.decode(episode_row.ids).split("\n")[:-1]]
        assert len(sentences) > 5
        assert {part_of(sentence) == HELD for sentence in sentences} == {is_held}


def test_no_episode_and_no_text_gives_a_held_out_task_away() -> None:
    guard = Guard()
    stream = episode_stream(WORLD, TOKENIZER, [Stage(1, 256, dict.fromkeys((*LEVELS, "text"), 1.0))], seed=1)
    rows = [TOKENIZER.decode(ids) for step in range(4) for ids in stream(step)[0].inputs["input_ids"]]
    assert [leak for row in rows for leak in guard.leaks(row)] == []


def test_the_stream_is_a_function_of_the_step_alone() -> None:
    stages = [Stage(2, 64, {"repeat": 1.0, "word": 1.0}, tokens=256), Stage(2, 128, {"text": 1.0}, tokens=256)]
    make = [episode_stream(WORLD, TOKENIZER, stages, seed=3) for _ in range(2)]
    late = [make[0](step)[0] for step in (0, 1, 2)][2]
    alone = make[1](2)[0]
    assert torch.equal(late.inputs["input_ids"], alone.inputs["input_ids"])
    assert late.inputs["input_ids"].shape == (2, 127)
    assert make[0](0)[0].inputs["input_ids"].shape == (4, 63)


def test_stages_follow_each_other_and_the_last_one_stays() -> None:
    stages = [Stage(2, 64), Stage(3, 128)]
    assert [stage_at(stages, step).length for step in (0, 1, 2, 4, 99)] == [64, 64, 128, 128, 128]


def test_a_repeat_row_has_its_loss_where_the_sequence_comes_again() -> None:
    for seed in range(10):
        row = episodes._repeat(WORLD, TOKENIZER, random.Random(seed), 64, 0.3)
        period = row.weights.index(1.0)
        assert row.ids[period:] == row.ids[: 64 - period]
        assert set(row.weights[period:]) == {1.0}


def test_a_binding_row_has_its_loss_on_labels_of_keys_seen_before() -> None:
    num_bare = 0
    for seed in range(100):
        row = episodes._binding(WORLD, TOKENIZER, random.Random(seed), 64, 0.3)
        weighted = {token for token, weight in zip(row.ids, row.weights, strict=True) if weight}
        assert len(weighted) <= 4
        if sum(row.weights) < 20:
            continue  # something stands between key and label, or around the key
        num_bare += 1
        label_of: dict[int, int] = {}
        for i in range(0, 64, 2):
            key, label = row.ids[i : i + 2]
            assert row.weights[i : i + 2] == [0.0, float(key in label_of)]
            assert label_of.setdefault(key, label) == label
    assert num_bare > 5


@pytest.mark.parametrize("pattern", sorted({*BARE, *PLAIN, *OPEN, *LISTED}))
def test_every_style_holds_the_text_and_ends_without_white_space(pattern: str) -> None:
    fields = draw_style(random.Random(0), ["yes", "no"], ["pear"], 0.0, 0.5).fields
    prompt = Style(pattern, "\n", fields).prompt("A pear fell.")
    assert "A pear fell." in prompt
    assert prompt == prompt.rstrip()
    if pattern in LISTED:
        assert "yes" in prompt.lower()
        assert "no" in prompt


def test_the_tools_separator_is_the_usual_one() -> None:
    assert SEPARATORS.count("\n\n") > len(SEPARATORS) / 2


@pytest.mark.parametrize(("knows", "accuracy"), [(1, 1.0), (0, 0.0)])
def test_the_curve_is_one_for_a_model_that_knows_the_next_token_and_zero_for_one_that_shuns_it(
    knows: int, accuracy: float
) -> None:
    rows = [row for row in unseen_episodes(WORLD, TOKENIZER, "word", 128, count=8) if len(row.labels) == 2]

    def model(ids: Any, use_cache: bool) -> Any:
        logits = torch.nn.functional.one_hot(ids.roll(-1, dims=1), 2048).float()
        if not knows:
            logits = 1 - logits
        return SimpleNamespace(logits=logits)

    curve = icl_curve(model, TOKENIZER, rows)
    assert set(curve) >= {0, 1, 4}
    assert set(curve.values()) == {accuracy}
