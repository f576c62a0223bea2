"""What strategies take, by the lengths that `cost` counts them for."""

import pytest

from peftbench.costs.describe import describe
from peftbench.costs.of_model import PER_QUERY, Workload, model_costs
from peftbench.costs.prices.demand import of_strategy


@pytest.fixture(scope="module")
def strategies():
    costs = model_costs(describe("gpt3-6.7b"), Workload(shots=10, query_tokens=107), {}, strict=True)
    return {strategy.title: strategy for strategy in costs.strategies}


def test_icl_sends_shots_and_input_and_gets_an_answer(strategies):
    work = Workload(shots=10, query_tokens=107)
    needed = of_strategy(strategies["ICL"], work, strategies["ICL cached"])
    assert (needed.use, needed.shot_tokens, needed.input_tokens) == ("icl", 980, 103)
    assert (needed.answer_tokens, needed.example_tokens) == (2, 105)
    assert needed.query_flops == strategies["ICL"].value(PER_QUERY)
    assert needed.cached_query_flops == strategies["ICL cached"].value(PER_QUERY) < needed.query_flops


def test_a_prompt_without_shots_sends_its_input(strategies):
    needed = of_strategy(strategies["zero-shot"], Workload(query_tokens=107))
    assert (needed.use, needed.shot_tokens, needed.input_tokens, needed.training_flops) == ("zero-shot", 0, 103, 0)
