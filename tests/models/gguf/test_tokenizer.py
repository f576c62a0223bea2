"""Tokenizers from a file's entries, against their algorithms written plainly."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from peftbench.errors import ModelError
from peftbench.models.gguf.header import Header
from peftbench.models.gguf.tokenizer import SPLITS, tokenizer

SPACE = "▁"
WORDS = "the cat sat on that mat and thanked the other 12 cats  then"


def of(model, tokens, **entries):
    entries |= {"model": model, "tokens": tokens}
    metadata = {"general.architecture": "llama"} | {f"tokenizer.ggml.{name}": value for name, value in entries.items()}
    return tokenizer(Header(Path("a.gguf"), metadata, {}))


def pieces():
    """Pieces of words, with scores at random, beside all bytes and letters."""
    chance = random.Random(0)
    text = WORDS.replace(" ", SPACE)
    longer = {text[start : start + size] for start in range(len(text)) for size in (2, 3, 4, 5) if start + size < 60}
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *sorted(set(text)), *sorted(longer)]
    kinds = [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)]
    return tokens, [-chance.random() if kind == 1 else 0.0 for kind in kinds], kinds


def merged(text, scores, begins):
    """Merge the two neighbours that make the piece with the highest score, the first of equals, until none do."""
    symbols = list((SPACE if begins and text else "") + text.replace(" ", SPACE))
    while True:
        pairs = [(scores[a + b], -place) for place, (a, b) in enumerate(pairwise(symbols)) if a + b in scores]
        if not pairs:
            return symbols
        place = -max(pairs)[1]
        symbols[place : place + 2] = ["".join(symbols[place : place + 2])]


@pytest.mark.parametrize("begins", [True, False])
def test_sentencepiece_merges_the_best_neighbours_first(begins):
    tokens, scores, kinds = pieces()
    ours = of("llama", tokens, scores=scores, token_type=kinds, add_space_prefix=begins, bos_token_id=1,
              eos_token_id=2, unknown_token_id=0)  # fmt: skip
    normal = {token: score for token, score, kind in zip(tokens, scores, kinds, strict=True) if kind == 1}
    chance = random.Random(1)
    for _ in range(100):
        text = "".join(chance.choice([*WORDS, "the", "at", " ", "  "]) for _ in range(chance.randrange(30)))
        assert ours(text).tokens() == ["<s>", *merged(text, normal, begins)], text
        assert ours.decode(ours(text).input_ids, skip_special_tokens=True) == text
    encoded = ours("é at", add_special_tokens=False, return_offsets_mapping=True)
    assert encoded.tokens()[-4 - begins :][:-2] == [*([SPACE] if begins else []), "<0xC3>", "<0xA9>"][-2 - begins :]
    assert encoded.offset_mapping[-1][1] == 4


# What llama.cpp cuts a text into, by its expressions read by hand.
CUTS = {
    "gpt-2": ["it", "'s", " 12", "\n", "\n", "3", " a", " ", " b", " (", "é", ")"],
    "smollm": ["it", "'s", " ", "1", "2", "\n\n", "3", " a", " ", " b", " (", "é", ")"],
    "llama-bpe": ["it", "'s", " ", "12", "\n\n", "3", " a", " ", " b", " (", "é", ")"],
    "qwen2": ["it", "'s", " ", "1", "2", "\n\n", "3", " a", " ", " b", " (", "é", ")"],
    "tekken": ["it", "'s", " ", "1", "2", "\n\n", "3", " a", " ", " b", " (", "é", ")"],
}


@pytest.mark.parametrize("pre", SPLITS)
def test_texts_are_cut_as_the_file_prescribes(pre):
    tokens = ["<s>", "a"]
    ours = of("gpt2", tokens, merges=[], pre=pre, bos_token_id=0)
    text = "it's 12\n\n3 a  b (é)"
    cuts = [text[start:stop] for _, (start, stop) in ours.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    name = next(name for name in CUTS if SPLITS[name] == SPLITS[pre])
    assert cuts == CUTS[name]
    begins = pre in ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "tekken")
    assert ours("a").tokens() == ["<s>", "a"][not begins :]


def test_special_tokens_are_matched_before_a_text_is_cut_and_end_it_where_the_file_says_so():
    tokens = ["<s>", "<think>", "<", "s", ">", "t", "h", "i", "n", "k"]
    ours = of("gpt2", tokens, merges=[], pre="gpt-2", token_type=[3, 4, *[1] * 8], eos_token_id=0, add_eos_token=True)
    assert ours("s<think><s>").tokens() == ["s", "<think>", "<s>", "<s>"]
    assert ours.decode(ours("s<think>").input_ids, skip_special_tokens=True) == "s<think>"


def test_what_would_take_long_is_refused():
    many, long = [f"<{number}>" for number in range(30_000)], "a" * 300
    with pytest.raises(ModelError, match="30,000 special tokens"):
        of("gpt2", many, merges=[], pre="gpt-2", token_type=[3] * len(many))
    with pytest.raises(ModelError, match="a piece has more than 256 characters"):
        of("llama", ["<unk>", long], scores=[0.0, 0.0], unknown_token_id=0)
