"""Hand arithmetic, one layer of each kind: each matmul written out as 2 * rows * inner * columns."""

from dataclasses import replace

import pytest

from peftbench.costs.count import Query, forward_flops, prefill_flops
from peftbench.costs.published import SHAPES
from peftbench.errors import CostError
from peftbench.methods.base import Added, Op, Place
from peftbench.models.shapes import Sizes

T5 = Sizes(True, 1, 1, d_model=8, d_kv=3, d_ff=10, num_heads=2, num_kv_heads=2, gated=True, vocab_size=20)
T5_V1_0 = Sizes(True, 1, 1, d_model=8, d_kv=3, d_ff=10, num_heads=2, num_kv_heads=2, gated=False, vocab_size=20)
GPT2 = Sizes(False, 0, 1, d_model=8, d_kv=4, d_ff=32, num_heads=2, num_kv_heads=2, gated=False, vocab_size=20)
LLAMA = Sizes(False, 0, 1, d_model=8, d_kv=3, d_ff=10, num_heads=4, num_kv_heads=2, gated=True, vocab_size=20)
PLACES = {
    "encoder": Place("encoder", 0, "self", "q"),
    "decoder": Place("decoder", 0, "cross", "q"),
    "cross": Place("decoder", 0, "cross", "k"),
}

BERT = Sizes(False, 0, 1, 8, 4, 32, 2, 2, gated=False, vocab_size=20, norms_behind=True, is_encoder_only=True)

TWO_CHOICES = Query(shot_tokens=2, input_tokens=3, choice_tokens=(2, 1))  # T5: 5 encoder and 3 decoder tokens
TWO_ANSWERS = Query(shot_tokens=2, input_tokens=3, choice_tokens=(0, 1))  # decoder-only: 6 tokens, 2 of them predict

ENCODER = (
    4 * (2 * 5 * 8 * 6)  # q, k, v, o
    + 2 * (2 * 5 * 5 * 6)  # scores, values
    + 2 * (2 * 5 * 8 * 10)  # gate and up, or up and out
)
DECODER = (
    4 * (2 * 3 * 8 * 6)  # q, k, v, o
    + 2 * (2 * (2 * 2 + 1 * 1) * 6)  # scores, values: each choice sees itself
    + 2 * (2 * 3 * 8 * 6)  # cross q, o
    + 2 * (2 * 5 * 8 * 6)  # cross k, v: once, of the encoder's tokens
    + 2 * (2 * 3 * 5 * 6)  # cross scores, values
    + 2 * (2 * 3 * 8 * 10)
)
HEAD = 2 * 3 * 8 * 20


def test_t5_v1_1_by_hand():
    third_matrix = 2 * 5 * 10 * 8 + 2 * 3 * 10 * 8
    assert forward_flops(T5, TWO_CHOICES) == ENCODER + DECODER + HEAD + third_matrix == 10_488


def test_t5_v1_0_by_hand():
    assert forward_flops(T5_V1_0, TWO_CHOICES) == ENCODER + DECODER + HEAD == 9_208


def test_gpt2_by_hand():
    projections, attention = 4 * (2 * 6 * 8 * 8), 2 * (2 * 6 * 6 * 8)
    feed_forward, head = 2 * (2 * 6 * 8 * 32), 2 * 2 * 8 * 20
    assert forward_flops(GPT2, TWO_ANSWERS) == projections + attention + feed_forward + head == 11_008


def test_llama_with_grouped_queries_by_hand():
    projections = 2 * (2 * 6 * 8 * 12) + 2 * (2 * 6 * 8 * 6)
    attention, feed_forward, head = 2 * (2 * 6 * 6 * 12), 3 * (2 * 6 * 8 * 10), 2 * 2 * 8 * 20
    assert forward_flops(LLAMA, TWO_ANSWERS) == projections + attention + feed_forward + head == 8_704


def test_bert_by_hand():
    """Choices of one token share a row of 2 + 3 + 1 tokens; one of two tokens takes two rows of 2 + 3 + 2."""
    tokens, pairs = 6 + 7 + 7, 6 * 6 + 7 * 7 + 7 * 7
    projections, attention = 4 * (2 * tokens * 8 * 8), 2 * (2 * pairs * 8)
    feed_forward, head = 2 * (2 * tokens * 8 * 32), 2 * 3 * 8 * (8 + 20)  # a mask of each row passes both its layers
    expected = projections + attention + feed_forward + head
    assert forward_flops(BERT, Query(2, 3, (1, 2, 1))) == expected == 36_352


def test_a_head_of_classes_takes_one_row_by_hand():
    classes = replace(BERT, num_classes=5)
    projections, attention = 4 * (2 * 5 * 8 * 8), 2 * (2 * 5 * 5 * 8)
    feed_forward, head = 2 * (2 * 5 * 8 * 32), 2 * 8 * 5
    expected = projections + attention + feed_forward + head
    assert forward_flops(classes, Query(2, 3, (0,) * 5)) == expected


def test_llama_with_cached_shots_by_hand():
    projections = 2 * (2 * 4 * 8 * 12) + 2 * (2 * 4 * 8 * 6)
    attention, feed_forward, head = 2 * (2 * 4 * 6 * 12), 3 * (2 * 4 * 8 * 10), 2 * 2 * 8 * 20
    assert forward_flops(LLAMA, TWO_ANSWERS, cached=True) == projections + attention + feed_forward + head == 6_016


def test_filling_llama_s_cache_by_hand():
    projections = 2 * (2 * 2 * 8 * 12) + 2 * (2 * 2 * 8 * 6)
    attention, feed_forward = 2 * (2 * 2 * 2 * 12), 3 * (2 * 2 * 8 * 10)
    assert prefill_flops(LLAMA, 2) == projections + attention + feed_forward == 2_304


def test_virtual_tokens_cost_as_much_as_tokens_of_the_prompt():
    longer = Query(TWO_CHOICES.shot_tokens + 7, TWO_CHOICES.input_tokens, TWO_CHOICES.choice_tokens)
    assert forward_flops(T5, TWO_CHOICES, Added(56, extra_tokens=7)) == forward_flops(T5, longer)
    longer = Query(TWO_ANSWERS.shot_tokens + 7, TWO_ANSWERS.input_tokens, TWO_ANSWERS.choice_tokens)
    added = Added(56, extra_tokens=7)
    assert forward_flops(LLAMA, TWO_ANSWERS, added) == forward_flops(LLAMA, longer)
    assert forward_flops(LLAMA, TWO_ANSWERS, added, cached=True) == forward_flops(LLAMA, longer, cached=True)
    assert prefill_flops(LLAMA, 2, added) == prefill_flops(LLAMA, 9)


def test_virtual_keys_are_attended_to_and_never_computed():
    extra = forward_flops(LLAMA, TWO_ANSWERS, Added(0, extra_keys=7)) - forward_flops(LLAMA, TWO_ANSWERS)
    assert extra == 2 * (2 * 6 * 7 * 12)
    extra = forward_flops(T5, TWO_CHOICES, Added(0, extra_keys=7)) - forward_flops(T5, TWO_CHOICES)
    assert extra == 2 * (2 * (5 + 3 + 3) * 7 * 6)  # encoder, decoder self- and cross-attention


@pytest.mark.parametrize(("tokens", "rows"), [("encoder", 5), ("decoder", 3), ("cross", 5)])
def test_an_op_costs_its_tokens_until_it_is_merged(tokens, rows):
    added = Added(16, ops=(Op(PLACES[tokens], k=8, n=2, mergeable=True),))
    plain = forward_flops(T5, TWO_CHOICES)
    assert forward_flops(T5, TWO_CHOICES, added, merged=False) - plain == 2 * rows * 8 * 2
    assert forward_flops(T5, TWO_CHOICES, added) == plain


def test_an_op_that_cannot_be_merged_is_paid_for():
    added = Added(16, ops=(Op(PLACES["decoder"], k=8, n=2, mergeable=False),))
    extra = forward_flops(LLAMA, TWO_ANSWERS, added, cached=True) - forward_flops(LLAMA, TWO_ANSWERS, cached=True)
    assert extra == 2 * 4 * 8 * 2


def test_grouped_keys_save_projections_and_no_attention():
    full = Sizes(False, 0, 1, 8, 3, 10, num_heads=4, num_kv_heads=4, gated=True, vocab_size=20)
    assert forward_flops(full, TWO_ANSWERS) - forward_flops(LLAMA, TWO_ANSWERS) == 2 * (2 * 6 * 8 * 6)


def test_t0_11b_with_103_and_4_tokens():
    assert forward_flops(SHAPES["t0-11b"].sizes, Query(0, 103, (4,))) == 1_168_657_743_872


def test_a_cache_does_not_go_with_an_encoder_that_reads_shots_and_query_together():
    with pytest.raises(CostError, match="cannot be cached"):
        forward_flops(T5, TWO_CHOICES, cached=True)
    with pytest.raises(CostError, match="no cache"):
        prefill_flops(T5, 2)
    with pytest.raises(CostError, match="an encoder-only model cannot be cached"):
        forward_flops(BERT, TWO_ANSWERS, cached=True)


@pytest.mark.parametrize("counts", [(-1, 3, (1,)), (0, -3, (1,)), (0, 3, ()), (0, 3, (2, -1))])
def test_impossible_token_counts_are_refused(counts):
    with pytest.raises(CostError, match="impossible token counts"):
        Query(*counts)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("num_kv_heads", 3, "num_heads = 4 is no multiple of num_kv_heads = 3"),
        ("num_kv_heads", 0, "num_kv_heads = 0"),
        ("num_decoder_layers", 0, "num_decoder_layers = 0"),
        ("num_encoder_layers", 2, "num_encoder_layers = 2 for a decoder-only model"),
        ("d_model", -8, "d_model = -8"),
    ],
)
def test_impossible_sizes_are_refused(field, value, told):
    sizes = Sizes(**{**vars(LLAMA), field: value})
    with pytest.raises(CostError, match=told):
        forward_flops(sizes, TWO_ANSWERS)
