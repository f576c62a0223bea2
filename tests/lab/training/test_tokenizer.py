"""The lab's tokenizer: any text comes back, and a word is one token wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from peftbench.lab.training.tokenizer import train_tokenizer

TEXTS = ["the cat sat on the mat.\n\nthe dog is red.\nLabel: yes", "does it follow that the cat sat?"] * 50
CAUSAL = train_tokenizer(TEXTS, vocab_size=400, num_merges=100, append_eos=False, max_length=64)
MASKED = train_tokenizer(TEXTS, vocab_size=400, num_merges=100, append_eos=True, has_mask=True, max_length=64)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_survives_the_round_trip(text: str) -> None:
    assert CAUSAL.decode(CAUSAL(text)["input_ids"]) == text


@pytest.mark.parametrize("text", ["", " ", "\n", " a\n  b\n\n\nc ", "caf\u00e9\r\n\t\U0001f600"])
def test_white_space_and_other_scripts_survive_the_round_trip(text: str) -> None:
    assert CAUSAL.decode(CAUSAL(text)["input_ids"]) == text


def test_a_word_has_one_token_at_the_start_of_the_text_in_a_line_and_after_a_newline() -> None:
    ids = CAUSAL("the cat\nthe cat the")["input_ids"]
    the = CAUSAL("the")["input_ids"]
    assert len(the) == 1
    assert ids.count(the[0]) == 3


def test_each_token_ends_where_its_last_character_ends() -> None:
    text = "the dog\n\nLabel: yes"
    ends = [end for _, end in CAUSAL(text, return_offsets_mapping=True)["offset_mapping"]]
    assert ends == sorted(ends)
    assert {len("the"), len("the dog"), len(text)} <= set(ends)


def test_a_saved_tokenizer_loads_as_an_ordinary_one_with_t5s_special_tokens(tmp_path: Path) -> None:
    train_tokenizer(TEXTS, vocab_size=400, num_merges=100, append_eos=True, max_length=64).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.pad_token_id, loaded.eos_token_id, loaded.unk_token_id) == (0, 1, 2)
    assert loaded("the cat")["input_ids"] == [*CAUSAL("the cat")["input_ids"], 1]
    assert loaded.model_max_length == 64


@pytest.mark.parametrize("text", ["the cat sat.", "sat", "the cat\nsat on, the mat", "sat\n\nthe dog"])
def test_a_mask_in_the_place_of_a_word_changes_that_tokens_id_alone(text: str, tmp_path: Path) -> None:
    MASKED.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    ids, masked = (loaded(part)["input_ids"] for part in (text, text.replace("sat", "<mask>")))
    (sat,) = loaded("sat", add_special_tokens=False)["input_ids"]
    assert [sat if token == loaded.mask_token_id else token for token in masked] == ids
    assert (ids[0], ids[-1]) == (loaded.cls_token_id, loaded.sep_token_id) == (3, 1)


def test_a_tokenizer_with_a_mask_spells_a_word_alike_behind_a_blank_and_at_the_start() -> None:
    assert MASKED(" the cat")["input_ids"] == MASKED("the cat")["input_ids"]
    assert MASKED.decode(MASKED("the cat sat.")["input_ids"], skip_special_tokens=True) == "the cat sat."
