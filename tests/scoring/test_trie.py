"""Prompts that share what they begin with, against each prompt and choice as a row of its own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.errors import RunError
from peftbench.scoring import trie
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.score import score_encoded
from tests.scoring.prompts import example
from tests.tiny import tiny_backbone

BACKBONES = {family: tiny_backbone(family) for family in ("llama", "mistral", "bloom")}
IDS = st.sampled_from([5, 6, 7])
CHOICES = st.lists(st.lists(IDS, min_size=1, max_size=3).map(tuple), min_size=2, max_size=3, unique=True).map(tuple)
CONTEXTS = st.lists(IDS, min_size=1, max_size=12).map(tuple)
PROMPT = st.builds(lambda context, choices: Encoded(context, choices, (0,) * len(choices)), CONTEXTS, CHOICES)
PROMPTS = st.lists(PROMPT, min_size=1, max_size=7)


def scored(backbone, prompts, **more):
    examples = [example("x", tuple("abc"[: len(prompt.choices)])) for prompt in prompts]
    return score_encoded(backbone, examples, prompts, [0] * len(prompts), **more)


@pytest.mark.parametrize("family", BACKBONES)
@given(prompts=PROMPTS, budget=st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_sharing_changes_no_score(family, prompts, budget):
    found = scored(BACKBONES[family], prompts, cache=True, is_trie=True, token_budget=budget)
    expected = scored(BACKBONES[family], prompts, cache=False)
    for shared, plain in zip(found.choices, expected.choices, strict=True):
        assert [choice.log_prob for choice in shared] == pytest.approx([choice.log_prob for choice in plain], abs=1e-5)
    of_prompts = sum(len(prompt.context) for prompt in prompts)
    work = found.work
    common = work.shared_tokens * (len(prompts) - 1)
    assert work.shared_tokens + work.context_tokens + work.saved_tokens + common == of_prompts
    assert sum(shape.num_tokens for shape in work.passes) == (
        work.shared_tokens + work.context_tokens + work.choice_tokens
    )


@given(PROMPTS)
@settings(max_examples=50, deadline=None)
def test_one_row_has_each_beginning_once(prompts):
    """As many tokens as contexts have different beginnings; of equal contexts each has its last token for itself."""
    (row,) = trie.rows(prompts, 0, 10_000)
    beginnings = {prompt.context[:length] for prompt in prompts for length in range(1, len(prompt.context) + 1)}
    num_repeated = len(prompts) - len({prompt.context for prompt in prompts})
    assert row.num_context == len(beginnings) + num_repeated


def test_rows_hold_no_more_than_the_budget():
    prompts = [Encoded((5, 6, number), ((5,), (6,)), (0, 0)) for number in range(10, 20)]
    found = list(trie.rows(prompts, 0, 6))
    assert [len(row.tokens.ids) for row in found] == [6, 6, 4]
    assert [len(row.prompts) for row in found] == [4, 4, 2]


def test_memory_that_does_not_suffice_is_one_line(monkeypatch):
    def fail(*_words, **_more):
        raise MemoryError

    monkeypatch.setattr(trie, "decoder_states", fail)
    with pytest.raises(RunError, match="memory on cpu does not suffice"):
        scored(BACKBONES["llama"], [Encoded((5, 6), ((5,), (6,)), (0, 0))], cache=True, is_trie=True)
