"""Answers in their place: against the masked models of transformers, and by what the papers say."""

import itertools

import pytest
import torch

from peftbench import registry
from peftbench.adapters.side_by_side import SideBySide
from peftbench.errors import ModelError
from peftbench.learners.tune import _shapes
from peftbench.scoring import cloze
from peftbench.scoring.encoding import encode
from peftbench.scoring.forward import choice_log_probs, of_members
from peftbench.scoring.layout import MARK, Shot
from peftbench.scoring.passes import Prompt, Shapes
from peftbench.scoring.score import score
from peftbench.scoring.work import rows_of
from peftbench.spec.cell import Scoring
from tests.adapters.random_adapters import save_random
from tests.scoring.prompts import example, prompts
from tests.tiny import ENCODERS, tiny_backbone

PLAIN = Scoring(end="none")
ONE_TOKEN = ("yes", "no", "that")
SEVERAL = ("yes", "no maybe", "false premise", "not question")
MASK = "<mask>"


def logits_at_mask(backbone, text, index=0):
    """Logits of transformers' own model at one of the masks of a text."""
    inputs = backbone.tokenizer(text, return_tensors="pt")
    places = (inputs.input_ids[0] == backbone.tokenizer.mask_token_id).nonzero().flatten()
    with torch.no_grad():
        return backbone.model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).logits[0, places[index]]


def token_of(backbone, word):
    (token,) = backbone.tokenizer(f" {word}", add_special_tokens=False).input_ids
    return token


def by_hand(backbone, template, word_tokens):
    """Score an answer as the paper writes it: a word's tokens from the one that is predicted on are masked."""
    tokenizer, total = backbone.tokenizer, 0.0
    flat = list(itertools.chain(*word_tokens))
    before, after = template.split(MASK)
    start = tokenizer(before.rstrip()).input_ids[:-1]
    end = tokenizer(after).input_ids[1:]
    for word, tokens in enumerate(word_tokens):
        first = sum(map(len, word_tokens[:word]))
        for place in range(first, first + len(tokens)):
            hidden = range(place, first + len(tokens))
            middle = [tokenizer.mask_token_id if index in hidden else token for index, token in enumerate(flat)]
            with torch.no_grad():
                logits = backbone.model(torch.tensor([start + middle + end])).logits[0, len(start) + place]
            total += float(logits.log_softmax(-1)[flat[place]])
    return total


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("template", [f"the premise says {MASK}", f"the answer is {MASK} question, follow"])
def test_answers_of_one_token_have_the_log_probabilities_of_the_masked_model_after_one_pass(family, template):
    backbone = tiny_backbone(family)
    inside = template.removesuffix(f" {MASK}").replace(MASK, MARK)
    scores = score(backbone, [example(inside, ONE_TOKEN)], PLAIN)
    expected = logits_at_mask(backbone, template).log_softmax(-1)
    assert [choice.log_prob for choice in scores.choices[0]] == pytest.approx(
        [float(expected[token_of(backbone, word)]) for word in ONE_TOKEN], abs=1e-5
    )
    (run,) = scores.work.passes
    assert (run.decoder_rows, run.head_tokens) == (1, 1)


@pytest.mark.parametrize("family", ENCODERS)
def test_answers_of_several_tokens_are_predicted_word_by_word_from_left_to_right(family):
    backbone = tiny_backbone(family)
    (encoded,) = encode(backbone, [example(f"the answer {MARK} follow", SEVERAL)], PLAIN)
    assert max(map(max, encoded.cloze.words)) > 0  # answers of several words
    assert any(len(set(words)) < len(words) for words in encoded.cloze.words)  # and words of several tokens
    scores = score(backbone, [example(f"the answer {MARK} follow", SEVERAL)], PLAIN)
    for ids, words, choice in zip(encoded.choices, encoded.cloze.words, scores.choices[0], strict=True):
        split = [[ids[place] for place in range(len(ids)) if words[place] == word] for word in dict.fromkeys(words)]
        assert choice.log_prob == pytest.approx(by_hand(backbone, f"the answer {MASK} follow", split), abs=1e-5)
        assert choice.num_tokens == len(ids)
    assert sum(run.decoder_rows for run in scores.work.passes) == len({row.ids for row in cloze.rows(encoded)})


def test_pet_s_score_is_the_raw_logit_and_over_patterns_their_mean():
    """log p is the logit less what all label words have in common: choices differ by as much, in the mean as well."""
    backbone = tiny_backbone("roberta")
    patterns = [f"the premise says {MASK}", f"question: {MASK} answer"]
    logits = torch.stack([logits_at_mask(backbone, pattern) for pattern in patterns])  # (patterns, vocab_size)
    pet = torch.stack([logits[:, token_of(backbone, word)] for word in ONE_TOKEN[1:]], 1)  # (patterns, choices)
    rows = [example(pattern.replace(MASK, MARK), ONE_TOKEN[1:]) for pattern in patterns]
    of_patterns = score(backbone, rows, PLAIN).choices
    ours = torch.tensor([[choice.log_prob for choice in choices] for choices in of_patterns])
    torch.testing.assert_close(ours.diff(), pet.diff(), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.mean(0).diff(), pet.mean(0).diff(), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.softmax(1), pet.softmax(1), atol=1e-5, rtol=0)  # PET's loss is of these


@pytest.mark.parametrize("family", ENCODERS)
def test_batches_and_rows_in_common_change_no_score(family):
    backbone, rows = tiny_backbone(family), prompts(12, num_shots=0)
    expected = score(backbone, rows, PLAIN)
    for options, budget in ((PLAIN, 1), (Scoring(end="none", cache=False), None)):
        scores = score(backbone, rows, options, token_budget=budget)
        for theirs, ours in zip(expected.choices, scores.choices, strict=True):
            assert [c.log_prob for c in ours] == pytest.approx([c.log_prob for c in theirs], abs=1e-5)


@pytest.mark.parametrize("cache", [True, False])
def test_the_passes_that_are_expected_are_those_that_run(cache):
    backbone, rows = tiny_backbone("bert"), prompts(12, num_shots=0)
    options = Scoring(end="none", cache=cache)
    encoded = [Prompt.of(tokens) for tokens in encode(backbone, rows, options)]
    work = score(backbone, rows, options, token_budget=200).work
    assert Shapes(backbone.sizes).scoring(encoded, 0, 200, cache=cache) == list(work.passes)
    assert sum(run.num_tokens for run in work.passes) == (
        work.context_tokens + work.choice_tokens + work.padding_tokens
    )


def test_a_training_step_counts_the_rows_that_it_ran():
    backbone, rows = tiny_backbone("bert"), prompts(3, num_shots=0)
    batch = encode(backbone, rows, PLAIN)
    lengths, shape, num_shared = _shapes(backbone, batch)
    num_rows = [len(cloze.rows(encoded)) for encoded in batch]
    assert shape.decoder_rows == shape.head_tokens == sum(num_rows)
    run = sum(len(row.ids) for encoded in batch for row in cloze.rows(encoded))
    assert sum(length.total for length in lengths) - num_shared == run


def test_rows_of_choices():
    assert rows_of((1, 1, 1)) == (1,)
    assert rows_of((2, 1, 3)) == (1, 2, 2, 3, 3, 3)
    assert rows_of((0, 0)) == (0,)


def test_shots_are_patterns_with_their_answers_in_place():
    backbone = tiny_backbone("roberta")
    shots = [Shot(f"the premise {MARK} true", "no")]
    (encoded,) = encode(backbone, [example(f"the question {MARK} true", ONE_TOKEN)], PLAIN, shots)
    ids = (*encoded.context, backbone.tokenizer.mask_token_id, *encoded.cloze.after)
    assert list(ids) == backbone.tokenizer(f"the premise no true\n\nthe question {MASK} true").input_ids


def test_rows_of_an_example_run_through_its_adapter(tmp_path):
    backbone, rows = tiny_backbone("bert"), prompts(4, num_shots=0)
    methods = [("ia3", {}), ("prompt_tuning", {"num_virtual_tokens": 3}), ("lora", {"rank": 2}), ("prefix_tuning", {})]
    folders = [save_random(backbone, tmp_path / name, name, settings, 0) for name, settings in methods]
    alone = []
    for folder, row in zip(folders, rows, strict=True):
        side_by_side = SideBySide(backbone, [folder])
        alone.append(score(backbone, [row], PLAIN, row_adapters=Each(side_by_side, [0])).choices[0])
        backbone.detach_all()
    side_by_side = SideBySide(backbone, folders)
    together = score(backbone, rows, PLAIN, row_adapters=Each(side_by_side, range(4))).choices
    for ours, theirs in zip(together, alone, strict=True):
        assert [c.log_prob for c in ours] == pytest.approx([c.log_prob for c in theirs], abs=1e-5)


class Each:
    """Each example's own adapter, for as many rows as it has."""

    def __init__(self, side_by_side, adapters):
        self.side_by_side, self.adapters = side_by_side, adapters

    def select(self, indices):
        return self.side_by_side.use([self.adapters[index] for index in indices])


def test_an_ensemble_of_prompts_takes_turns_over_examples_of_several_rows():
    backbone = tiny_backbone("bert")
    method = registry.method("prompt_tuning")
    method.attach(backbone, method.Config(num_prompts=2, num_virtual_tokens=3))
    batch = encode(backbone, prompts(2, num_shots=0), PLAIN)
    with torch.no_grad():
        values = choice_log_probs(backbone, of_members(backbone, batch))[0]
        for index, encoded in enumerate(of_members(backbone, batch)):
            with backbone.soft_prompt.use([index % 2] * len(cloze.rows(encoded))):
                alone = choice_log_probs(backbone, [encoded])[0][0]
            torch.testing.assert_close(values[index, : len(alone), : alone.shape[1]], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("input", "choices", "options", "told", "hint"),
    [
        ("the premise", ("yes", "no maybe"), {"pll": False}, "'no maybe' is 3 tokens", "label words of one token"),
        (f"{MARK} and {MARK}", ONE_TOKEN, {}, "2 places for its answer", "one, or none"),
        (f"the {MASK}", ONE_TOKEN, {}, "has 2 masks", "the answer's place"),
        (f"the premise says that {MARK}", ONE_TOKEN, {"max_input_tokens": 3}, "cuts the answer's place", "more tokens"),
        ("the premise", ONE_TOKEN, {"end": "eos"}, "--end eos", "--end none"),
        ("the premise", ("yes", " "), {}, "' ' has no tokens", "some text"),
    ],
)
def test_what_is_no_cloze_is_refused_in_one_line(input, choices, options, told, hint):
    with pytest.raises(ModelError, match=told) as caught:
        score(tiny_backbone("roberta"), [example(input, choices)], Scoring(**{"end": "none", **options}))
    assert "\n" not in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("input", "options", "told"),
    [
        (f"the {MARK}", {}, "inside of the input"),
        ("the", {"answer": "cloze"}, "--answer cloze"),
        ("the", {"pll": False}, "pll"),
    ],
)
def test_models_that_write_their_answers_have_no_place_for_them(input, options, told):
    with pytest.raises(ModelError, match=told):
        score(tiny_backbone("gpt2"), [example(input, ONE_TOKEN)], Scoring(end="none", **options))
