"""Which prompts share a row: all of them once, soft prompts once a row, and as little padding as pays."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peftbench import registry
from peftbench.scoring import forward, packing
from tests.scoring.prompts import encode_one
from tests.tiny import tiny_backbone

SMALL = replace(tiny_backbone("llama").sizes, d_model=576, d_kv=64, d_ff=1536, num_heads=9, num_kv_heads=3)  # 135 M
LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=12)


@given(LENGTHS, st.integers(0, 30))
def test_each_prompt_stands_in_one_row(tokens, num_shared):
    rows = packing.spread(tokens, num_shared, SMALL)
    assert sorted(prompt for row in rows for prompt in row) == list(range(len(tokens)))
    assert all(rows)


@given(LENGTHS)
def test_no_more_is_multiplied_than_with_a_row_for_each(tokens):
    alone = [[prompt] for prompt in range(len(tokens))]
    rows = packing.spread(tokens, 0, SMALL)
    assert packing._cost(rows, tokens, 0, SMALL) <= packing._cost(alone, tokens, 0, SMALL)


def test_prompts_of_one_length_that_fill_a_row_stay_apart_and_one_long_prompt_lets_the_others_share():
    assert packing.spread([4000] * 3, 0, SMALL) == [[0], [1], [2]]
    rows = packing.spread([900, 300, 310, 290], 0, SMALL)
    assert sorted(map(sorted, rows)) == [[0], [1, 2, 3]]


def test_batches_of_real_lengths_are_padded_by_less_than_five_percent():
    """Lengths as those of reviews, 8 a batch: a row for each is padded by 40 %."""
    generator = random.Random(0)
    run = needed = 0
    for _ in range(200):
        tokens = [10 + int(generator.expovariate(1 / 20)) for _ in range(8)]
        rows = packing.spread(tokens, 0, SMALL)
        run += len(rows) * max(sum(tokens[prompt] for prompt in row) for row in rows)
        needed += sum(tokens)
    assert run / needed < 1.05


@pytest.mark.parametrize("num_prompts", [1, 2])
def test_a_soft_prompt_stands_once_in_a_row_and_an_ensembles_members_have_rows_of_their_own(num_prompts):
    backbone, method = tiny_backbone("gpt2"), registry.method("prompt_tuning")
    method.attach(backbone, method.Config(num_virtual_tokens=6, num_prompts=num_prompts))
    examples = [encode_one(backbone, text, ["yes", "no"], end="none", separator="\n") for text in ("a", "a b c", "d e")]
    batch = forward.of_members(backbone, examples)
    rows = packing.rows(backbone, batch)
    assert sorted(prompt for row in rows for prompt in row) == list(range(len(batch)))
    for place, row in enumerate(rows):
        assert {prompt % num_prompts for prompt in row} == {place % num_prompts}
    seen = []
    handle = backbone.model.base_model.register_forward_pre_hook(
        lambda _module, _args, options: seen.append(options["inputs_embeds"].shape[:2]), with_kwargs=True
    )
    with torch.no_grad():
        values, _ = forward.choice_log_probs(backbone, batch)
        handle.remove()
        alone, _ = forward.answer_log_probs(backbone, batch)
    assert seen[0][0] == len(rows)
    assert float(values.sum()) == pytest.approx(float(alone.sum()), abs=1e-4)
