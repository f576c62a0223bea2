"""Which prompts share a row: all of them once, soft prompts once a row, and as little padding as pays."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peftbench import registry
from peftbench.scoring import forward, packing
from peftbench.scoring.tree import branches
from peftbench.scoring.work import Pass
from tests.scoring.prompts import encode_one
from tests.tiny import tiny_backbone

SMALL = replace(tiny_backbone("llama").sizes, d_model=576, d_kv=64, d_ff=1536, num_heads=9, num_kv_heads=3)  # 135 M
T5_BASE = replace(
    tiny_backbone("t5").sizes, num_encoder_layers=12, num_decoder_layers=12, d_model=768, d_kv=64, d_ff=3072,
    num_heads=12, num_kv_heads=12, gated=False,
)  # fmt: skip
SIZES = pytest.mark.parametrize("sizes", [SMALL, T5_BASE])
LENGTHS = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 60)), min_size=1, max_size=12)


@SIZES
@given(LENGTHS, st.integers(0, 30))
def test_each_prompt_stands_in_one_row(sizes, lengths, num_virtual):
    rows = packing.rows(sizes, *zip(*lengths, strict=True), num_virtual)
    assert sorted(prompt for row in rows for prompt in row) == list(range(len(lengths)))
    assert all(rows)


@SIZES
@given(LENGTHS)
def test_no_more_is_multiplied_than_with_a_row_for_each(sizes, lengths):
    contexts, fed = zip(*lengths, strict=True)
    alone = [[prompt] for prompt in range(len(lengths))]
    shared, apart = (packing.shape(sizes, rows, contexts, fed) for rows in (packing.rows(sizes, contexts, fed), alone))
    assert packing.cost(sizes, shared) <= packing.cost(sizes, apart)


@SIZES
def test_prompts_of_one_length_that_fill_a_row_stay_apart_and_one_long_prompt_lets_the_others_share(sizes):
    assert packing.rows(sizes, [4000] * 3, [0] * 3) == [[0], [1], [2]]
    rows = packing.rows(sizes, [900, 300, 310, 290], [0] * 4)
    assert sorted(map(sorted, rows)) == [[0], [1, 2, 3]]


@SIZES
@pytest.mark.parametrize("num_fed", [2, 12, 90])
def test_batches_of_real_lengths_are_padded_by_less_than_five_percent(sizes, num_fed):
    """Lengths as those of reviews, 8 a batch: a row for each is padded by 40 % where choices are short."""
    generator = random.Random(0)
    run = needed = 0
    for _ in range(50):
        contexts, fed = [10 + int(generator.expovariate(1 / 20)) for _ in range(8)], [num_fed] * 8
        run += packing.shape(sizes, packing.rows(sizes, contexts, fed), contexts, fed).num_tokens
        needed += sum(contexts) + 8 * (num_fed + sizes.is_encoder_decoder)
    assert run / needed < 1.05


def test_a_passs_cost_is_its_multiplications_by_hand(monkeypatch):
    """One layer in each stack, d_model 4, two heads of 3, d_ff 5: two rows of 7 in, two of 6 out."""
    monkeypatch.setattr(packing, "ATTENTION_WEIGHT", 1)
    sizes = replace(
        T5_BASE, num_encoder_layers=1, num_decoder_layers=1, d_model=4, d_kv=3, d_ff=5, num_heads=2, num_kv_heads=2
    )
    encoder = 14 * (4 * 4 * 6 + 2 * 4 * 5 + 2 * 6 * 7)
    cross = 14 * 2 * 4 * 6 + 12 * (2 * 4 * 6 + 2 * 6 * 7)
    decoder = 12 * (4 * 4 * 6 + 2 * 4 * 5 + 2 * 6 * 6)
    assert packing.cost(sizes, Pass(2, 7, 2, 6, 0, 0)) == encoder + cross + decoder


@pytest.mark.parametrize("num_prompts", [1, 2])
def test_a_soft_prompt_stands_once_in_a_row_and_an_ensembles_members_have_rows_of_their_own(num_prompts):
    backbone, method = tiny_backbone("gpt2"), registry.method("prompt_tuning")
    method.attach(backbone, method.Config(num_virtual_tokens=6, num_prompts=num_prompts))
    examples = [encode_one(backbone, text, ["yes", "no"], end="none", separator="\n") for text in ("a", "a b c", "d e")]
    batch = forward.of_members(backbone, examples)
    contexts, fed = [len(tokens.context) for tokens in batch], [len(branches(tokens).ids) for tokens in batch]
    rows = packing.rows(backbone.sizes, contexts, fed, 6, num_prompts)
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
