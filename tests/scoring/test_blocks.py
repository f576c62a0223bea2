"""Shots in blocks that do not see each other, against transformers with a mask written by hand."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.bloom import modeling_bloom

from peftbench.costs.count import pass_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.errors import MethodError, ModelError
from peftbench.scoring import blocks
from peftbench.scoring.encoding import encode
from peftbench.scoring.layout import Shot
from peftbench.scoring.score import score
from peftbench.scoring.work import Blocks
from peftbench.spec.cell import Scoring
from tests.chats import TEMPLATES, chat_backbone
from tests.scoring.prompts import SEPARATOR, example
from tests.scoring.test_score import DECODERS, assert_equal_scores, largest_difference, log_probs
from tests.tiny import WINDOW, tiny_backbone, tiny_folder, tiny_tokenizer

SCORING = Scoring(end="none", separator=SEPARATOR)
SHOTS = [
    Shot("the premise is true", "yes"),
    Shot("no premise", "no"),
    Shot("the hypothesis does follow or not", "no maybe"),
    Shot("true", "yes"),
    Shot("false or true?", "no"),
]
CHOICES = ("yes", "no maybe", "no answer")
QUERIES = [example(text, CHOICES) for text in ("that is true", "maybe", "the answer is no, yes?")]


def mask_by_hand(sizes, length, window=None):
    """(1, 1, length, length), 0 where the query at i sees the key at j."""
    block_of = [number for number, size in enumerate(sizes) for _ in range(size)]
    block_of += [None] * (length - len(block_of))  # of the query, which sees all
    seen = torch.tensor(
        [
            [
                j <= i and block_of[i] in (None, block_of[j]) and (window is None or i - j < window)
                for j in range(length)
            ]
            for i in range(length)
        ]
    )
    return torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]


def masks(family, sizes, length):
    """The mask, or a mask for each kind of layer, as the family's model takes them."""
    full, windowed = (mask_by_hand(sizes, length, window) for window in (None, WINDOW))
    if family in ("qwen2", "gemma2", "gemma3_text"):
        return {"full_attention": full, "sliding_attention": windowed}
    return windowed if family == "mistral" else full


@torch.no_grad()
def by_transformers(family, folder, num_shots, monkeypatch):
    """Each (query, choice) alone, its blocks cut where the shots' own texts have tokens."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = tiny_tokenizer(family)
    texts = [f"{shot.input} {shot.answer}" for shot in SHOTS]
    ends = [SEPARATOR.join(texts[:number]) for number in [*range(num_shots, len(SHOTS), num_shots), len(SHOTS)]]
    stops = [len(tokenizer(text).input_ids) for text in ends]
    sizes = [stop - start for start, stop in zip([0, *stops], stops, strict=False)]
    sums = []
    for query in QUERIES:
        prompt = tokenizer(SEPARATOR.join([*texts, query.input])).input_ids
        answers = [tokenizer(f" {choice}", add_special_tokens=False).input_ids for choice in query.choices]
        of_query = []
        for answer in answers:
            ids = torch.tensor([prompt + answer])
            mask = masks(family, sizes, ids.shape[1])
            more = {"attention_mask": mask, "position_ids": torch.arange(ids.shape[1])[None]}
            if family == "bloom":  # it makes its penalties of a mask that has no rows of keys
                monkeypatch.setattr(modeling_bloom, "create_causal_mask", lambda mask=mask, **_: mask)
                more = {}
            logits = model(ids, **more).logits[0, len(prompt) - 1 : -1]
            of_query.append(sum(logits.log_softmax(-1)[t, token].item() for t, token in enumerate(answer)))
        sums.append(of_query)
    return sums


@pytest.mark.parametrize("family", DECODERS)
def test_blocks_score_as_the_plain_model_does_under_a_mask_by_hand(family, tmp_path, monkeypatch):
    expected = by_transformers(family, tiny_folder(family, tmp_path / family), 2, monkeypatch)
    monkeypatch.undo()
    for budget in (512, 5):  # parts of a block, and queries one by one
        found = score(tiny_backbone(family), QUERIES, SCORING, SHOTS, block_shots=2, token_budget=budget)
        assert_equal_scores(log_probs(found), expected)


@pytest.mark.parametrize("family", DECODERS)
def test_one_block_is_full_attention(family):
    backbone = tiny_backbone(family)
    full, found = (
        log_probs(score(backbone, QUERIES, SCORING, SHOTS, block_shots=number)) for number in (None, len(SHOTS))
    )
    assert_equal_scores(found, full)


def test_several_blocks_are_not():
    backbone = tiny_backbone("llama")
    full, found = (score(backbone, QUERIES, SCORING, SHOTS, block_shots=number) for number in (None, 1))
    assert largest_difference(found, full) > 0.01


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_the_work_is_what_the_kernels_ran(family):
    backbone, scores = tiny_backbone(family), []
    traced = kernel_flops(
        lambda: scores.append(score(backbone, QUERIES, SCORING, SHOTS, block_shots=2, token_budget=12))
    )
    assert sum(pass_flops(backbone.sizes, shape) for shape in scores[0].work.passes) == traced


def own_blocks(backbone, scoring, num_shots, queries=QUERIES):
    return blocks.marked(backbone, queries, encode(backbone, queries, scoring, SHOTS), scoring, SHOTS, num_shots)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_blocks_of_turns_end_with_an_answer(kind):
    backbone, scoring = chat_backbone(kind), Scoring(end="none", chat=True, system="answer true")
    (first, *_) = own_blocks(backbone, scoring, 2)
    texts = [backbone.tokenizer.decode(first.context[start:end]) for start, end in first.blocks.spans]
    assert "answer true" in backbone.tokenizer.decode(first.context[: first.blocks.num_before])
    assert "premise" not in backbone.tokenizer.decode(first.context[: first.blocks.num_before])
    assert [text.endswith(SHOTS[index].answer) for text, index in zip(texts, (1, 3, 4), strict=True)] == [True] * 3


def test_the_opening_is_part_of_the_first_block():
    (first, *_) = own_blocks(tiny_backbone("llama"), SCORING, 4)
    ids = tiny_tokenizer("llama")
    shots = [f"{shot.input} {shot.answer}" for shot in SHOTS]
    alone = len(ids(SEPARATOR.join(shots[:4])).input_ids) - 1
    assert first.blocks == Blocks(1, (alone, len(ids(SEPARATOR.join(shots)).input_ids) - 1 - alone))
    assert list(first.blocks.spans) == [(0, 1 + alone), (1 + alone, first.blocks.num_tokens)]


@pytest.mark.parametrize("texts", [("s it is", "xx"), ("xx", "s it is")])
def test_shots_that_join_one_query_and_not_another_are_refused(texts):
    """Without a separator, the end of the last answer and the beginning of "s it is" are the word "yes"."""
    backbone, scoring = tiny_backbone("gpt2"), SCORING.model_copy(update={"separator": ""})
    queries, shots = [example(text, CHOICES) for text in texts], [Shot("no ", "ye"), Shot("the premise", "ye")]
    alike = [queries[0]] * 2
    for batch in (alike, queries):
        encoded = encode(backbone, batch, scoring, shots)
        if batch is alike:
            assert blocks.marked(backbone, batch, encoded, scoring, shots, 1)
            continue
        with pytest.raises(ModelError, match="joins the last shot with what follows"):
            blocks.marked(backbone, batch, encoded, scoring, shots, 1)


def test_an_encoder_reads_shots_and_query_together():
    with pytest.raises(MethodError, match="goes with decoder-only models"):
        blocks.check(tiny_backbone("t5"))
    blocks.check(tiny_backbone("gpt2"))
