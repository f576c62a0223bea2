from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from peftbench.errors import ModelError
from peftbench.scoring.encoding import MARGIN, _head, cut, encode
from peftbench.scoring.layout import Layout, Shot
from peftbench.spec.cell import Scoring
from tests.scoring.prompts import SEPARATOR, encode_one, example, prompts
from tests.tiny import FAMILIES, TEXT, tiny_backbone

join = Layout().text

BACKBONES = {family: tiny_backbone(family) for family in ("t5", "gpt2", "llama")}


def whole_ids(backbone, prompt, choice):
    return tuple(backbone.tokenizer(join(prompt.input, choice)).input_ids)


def test_join_puts_one_space_between_prompt_and_answer():
    assert join("a question? \n", " yes\n") == "a question? yes"


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_context_and_choice_together_are_the_tokens_of_the_whole_text(family):
    backbone = BACKBONES[family]
    for prompt, encoded in zip(prompts(), encode(backbone, prompts(), Scoring(end="none", separator="")), strict=True):
        for choice, ids in zip(prompt.choices, encoded.choices, strict=True):
            assert encoded.context + ids == whole_ids(backbone, prompt, choice)


texts = st.text(st.sampled_from("ab yes\n?\u00e9"), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(head=texts, inputs=st.lists(texts, min_size=1, max_size=4), family=st.sampled_from(["gpt2", "llama"]))
def test_tokenizing_the_common_head_once_changes_no_token(head, inputs, family):
    backbone = BACKBONES[family]
    batch = [example(f"start\n{head}\n{text}", ("yes", "no maybe")) for text in inputs]
    for prompt, encoded in zip(batch, encode(backbone, batch, Scoring(end="none", separator="")), strict=True):
        assert [encoded.context + ids for ids in encoded.choices] == [
            whole_ids(backbone, prompt, choice) for choice in prompt.choices
        ]


@settings(max_examples=60, deadline=None)
@given(input=texts, choices=st.lists(texts.filter(str.strip), min_size=1, max_size=3, unique_by=str.strip))
def test_answer_tokens_are_those_that_end_after_the_prompt(input, choices):
    backbone = BACKBONES["gpt2"]
    encoded = encode_one(backbone, input, choices, end="none", separator="")
    for choice, ids, start in zip(choices, encoded.choices, encoded.starts, strict=True):
        offsets = backbone.tokenizer(join(input, choice), return_offsets_mapping=True).offset_mapping
        assert len(ids) - start == sum(stop > len(input.rstrip()) for _, stop in offsets)


def test_the_context_stops_before_the_answer_even_where_choices_begin_alike():
    encoded = encode_one(BACKBONES["gpt2"], "x", ["yes no", "yes maybe"], end="none", separator="")
    assert len(encoded.context) == 1
    assert encoded.starts == (0, 0)
    assert encoded.choices[0][0] == encoded.choices[1][0]


def test_the_end_is_what_was_asked_for():
    backbone = BACKBONES["gpt2"]
    ids = {
        end: encode_one(backbone, "no", ["yes"], end=end, separator=SEPARATOR).choices[0]
        for end in ("none", "eos", "separator")
    }
    assert ids["eos"] == (*ids["none"], backbone.tokenizer.eos_token_id)
    assert backbone.tokenizer.decode(ids["separator"]) == " yes\n\n"


def test_an_encoder_decoder_closes_its_input_and_leaves_the_answer_to_end():
    backbone = BACKBONES["t5"]
    encoded = encode_one(backbone, "the question? ", ["yes", "no"], end="none", separator="", label=1)
    assert encoded.context == tuple(backbone.tokenizer("the question?").input_ids)
    assert encoded.choices[0] == tuple(backbone.tokenizer("yes", add_special_tokens=False).input_ids)
    assert (encoded.starts, encoded.label) == ((0, 0), 1)
    assert encode_one(backbone, "x", ["yes"], end="eos", separator="").choices[0][-1] == 1


@pytest.mark.parametrize(("family", "first"), [("gpt2", 1), ("llama", 2)])
def test_an_answer_without_a_prompt_is_predicted_from_the_first_token_or_else_the_end_token(family, first):
    assert encode_one(BACKBONES[family], "", ["yes", "no"], end="none", separator="").context == (first,)


def test_shots_in_common_are_tokenized_once_wherever_the_queries_part():
    core = Tokenizer(models.BPE())
    lines_and_words = pre_tokenizers.Split(Regex(r"[\r\n]+| ?\S+"), "isolated")  # as in Llama 3 and Qwen
    core.pre_tokenizer = pre_tokenizers.Sequence([lines_and_words, pre_tokenizers.ByteLevel(use_regex=False)])
    core.train_from_iterator(["yes\n\nno\n\n"] * 4, trainers.BpeTrainer(show_progress=False))
    assert core.token_to_id("\u010a\u010a") is not None  # two newlines are one token
    backbone = SimpleNamespace(name="m", tokenizer=SimpleNamespace(backend_tokenizer=core))
    text = "yes no\n\nyes yes no\n\nno yes yes"
    for place in range(len("yes no\n\n") + MARGIN, len(text)):
        inputs = [text[:place] + last for last in "ab"]
        head, length = _head(backbone, inputs, inputs)
        assert length >= len("yes no\n\n")
        assert head == core.encode(inputs[0]).ids[: len(head)]


def test_a_tokenizer_that_marks_the_start_of_a_text_gets_each_text_whole():
    backbone = tiny_backbone("gpt2")
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    core.train_from_iterator([TEXT + "\n?"], trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False))
    backbone.tokenizer._tokenizer = core
    for prompt, encoded in zip(prompts(), encode(backbone, prompts(), Scoring(end="none", separator="")), strict=True):
        assert encoded.context + encoded.choices[0] == whole_ids(backbone, prompt, prompt.choices[0])


@pytest.mark.parametrize("family", BACKBONES)
@pytest.mark.parametrize(
    ("choices", "message"),
    [(["yes", " "], "answer choice ' ' has no tokens"), (["yes", "yes "], "answer choice 'yes ' has the same tokens")],
)
def test_choices_that_cannot_be_told_apart_are_refused(family, choices, message):
    with pytest.raises(ModelError, match=message):
        encode_one(BACKBONES[family], "x", choices, end="eos", separator="")


@pytest.mark.parametrize("family", FAMILIES)
def test_cutting_keeps_the_first_tokens_and_counts_the_rest(family):
    backbone = tiny_backbone(family)
    text, num_cut = cut(backbone, "yes no maybe", 2)
    assert (text, num_cut) == ("yes no", len(backbone.tokenizer(" maybe", add_special_tokens=False).input_ids))
    assert cut(backbone, "yes no", 2) == ("yes no", 0)


def test_a_tokenizer_that_gives_up_on_a_text_is_one_line():
    backbone = tiny_backbone("gpt2")
    backbone.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(x+x+)+y"), "isolated")
    with pytest.raises(ModelError, match=r"has a tokenizer that fails: .*retry-limit"):
        encode_one(backbone, "x" * 40, ["yes", "no"], end="none", separator="")


@pytest.mark.parametrize("joint", ["", "\n", "\n "])
@pytest.mark.parametrize("input", ["a question?", ""])
def test_white_space_between_input_and_answer_is_the_examples_own(joint, input):
    backbone = BACKBONES["gpt2"]
    query = replace(example(input, ("yes", "no maybe")), joint=joint)
    (encoded,) = encode(backbone, [query], Scoring(end="none", separator=""))
    for choice, ids in zip(query.choices, encoded.choices, strict=True):
        text = backbone.tokenizer(f"{input}{joint}{choice}").input_ids
        opened = [] if input else [backbone.tokenizer.eos_token_id]
        assert [*encoded.context, *ids] == [*opened, *text]


def test_what_stands_before_an_empty_input_keeps_its_end():
    query = replace(example("", ("yes", "no")), joint="")
    (encoded,) = encode(BACKBONES["gpt2"], [query], Scoring(end="none", separator="\n"), [Shot("", "no", "")])
    assert BACKBONES["gpt2"].tokenizer.decode([*encoded.context, *encoded.choices[0]]) == "no\nyes"
