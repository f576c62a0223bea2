"""Golden numbers: the formulas of arXiv 2205.05638, section 4.2, and what its Table 1 prints (docs/costs.md)."""

import pytest

from peftbench.costs.rule import break_even_queries, inference_flops, training_flops

SHOTS, SHOT_TOKENS, QUERY_TOKENS = 41, 98, 103
PROMPT_TOKENS = SHOTS * SHOT_TOKENS + QUERY_TOKENS
TFEW = inference_flops(11 * 10**9, QUERY_TOKENS, is_encoder_decoder=True)
TFEW_TRAINING = training_flops(11 * 10**9, QUERY_TOKENS, num_steps=1000, batch_size=8, is_encoder_decoder=True)


def gpt3(num_parameters, num_tokens=PROMPT_TOKENS):
    return inference_flops(int(num_parameters), num_tokens, is_encoder_decoder=False)


def test_a_prompt_of_41_shots_has_4121_tokens():
    assert PROMPT_TOKENS == 4121


def test_t_few_inference_is_1_133e12():
    assert TFEW == 1_133_000_000_000


def test_t_few_training_is_2_7192e16():
    assert TFEW_TRAINING == 27_192_000_000_000_000


def test_t5_lm_concatenated_is_4_533e13_and_the_ensemble_that_was_run_twice_that():
    assert inference_flops(11 * 10**9, PROMPT_TOKENS, is_encoder_decoder=True) == 45_331_000_000_000
    ensemble = inference_flops(11 * 10**9, SHOTS * (SHOT_TOKENS + QUERY_TOKENS), is_encoder_decoder=True)
    assert ensemble == 90_651_000_000_000


@pytest.mark.parametrize(
    ("num_parameters", "with_query", "without_query"),
    [
        (6.7e9, 55_221_400_000_000, 53_841_200_000_000),
        (13e9, 107_146_000_000_000, 104_468_000_000_000),
        (175e9, 1_442_350_000_000_000, 1_406_300_000_000_000),
    ],
)
def test_gpt3_rows_with_and_without_the_query(num_parameters, with_query, without_query):
    assert gpt3(num_parameters) == with_query
    assert gpt3(num_parameters, SHOTS * SHOT_TOKENS) == without_query


@pytest.mark.parametrize(("num_parameters", "queries"), [(175e9, 19), (13e9, 257), (6.7e9, 503)])
def test_break_even_against_gpt3(num_parameters, queries):
    assert break_even_queries(TFEW_TRAINING, gpt3(num_parameters), TFEW) == queries


@pytest.mark.parametrize(("num_parameters", "queries"), [(175e9, 779), (13e9, 17_600), (6.7e9, 110_000)])
def test_break_even_against_gpt3_with_cached_shots(num_parameters, queries):
    assert break_even_queries(TFEW_TRAINING, gpt3(num_parameters, QUERY_TOKENS), TFEW) == queries


def test_training_never_pays_where_a_query_costs_no_less_afterwards():
    assert break_even_queries(TFEW_TRAINING, TFEW, TFEW) is None
