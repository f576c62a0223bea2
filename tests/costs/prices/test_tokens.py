"""Prompts by the token, against sums done by hand, and what holds for all prices."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftbench.costs.prices import tokens
from peftbench.costs.prices.demand import Demand
from peftbench.costs.prices.schema import ModelPrice, Traffic
from tests.costs.prices.files import HAIKU, MINI


def model(table, **changes):
    return ModelPrice.model_validate(table | {"as_of": date(2026, 10, 14)} | changes)


def demand(shots=41, **changes):
    """The paper's shots of 98 tokens, before 103 tokens of input and two choices of two tokens."""
    facts = {"use": "icl", "shot_tokens": 98 * shots, "input_tokens": 103, "choice_tokens": 4, "num_choices": 2}
    return Demand(**facts | {"query_flops": 1} | changes)


def traffic(number=1_000_000, days=30, hits=1.0):
    return Traffic(queries_per_day=number / days, days=days, cache_hit_rate=hits)


def bill(table, needed=None, is_cached=False, of=None, **changes):
    """Amounts by their names."""
    priced = tokens.items(model(table, **changes), needed or demand(), of or traffic(), "USD", is_cached=is_cached)
    return {item.name: item.value for item in priced}


def test_prompts_cost_their_tokens():
    # 41 x 98 + 103 = 4,121 tokens a query: 4,121 x 0.40 = 1,648.40 for a million of them; answers of 2 x 1.60 = 3.20
    assert bill(MINI) == pytest.approx({"input": 1648.40, "output": 3.20})
    assert bill(HAIKU) == pytest.approx({"input": 4121.00, "output": 10.00})


def test_whole_steps_are_cached():
    # 4,018 tokens of shots are 31 steps of 128, 3,968 tokens; 50 and 103 tokens are not: 153 x 0.40 = 61.20
    # all but the first query read 3,968 x 0.10 = 396.80; the first one writes at the price of input
    amounts = bill(MINI, is_cached=True)
    assert amounts["input"] == pytest.approx(61.20)
    assert amounts["cached_input"] == pytest.approx(396.80, abs=1e-3)
    assert amounts["cache_writes"] == pytest.approx(3968 * 0.40 / 1e6)
    assert sum(amounts.values()) - amounts["output"] == pytest.approx(458.00, abs=0.005)


@pytest.mark.parametrize(
    ("shot_tokens", "cached"), [(4095, 0), (4096, 4096), (4097, 4097), (98 * 41, 0), (98 * 42, 4116), (0, 0)]
)
def test_the_floor_is_reached_at_the_floor(shot_tokens, cached):
    asked = tokens.requests(model(HAIKU), demand(shot_tokens=shot_tokens))
    assert asked.cached == cached
    assert asked.is_cached is (cached > 0)
    assert ("cached_input" in bill(HAIKU, demand(shot_tokens=shot_tokens), is_cached=True)) is (cached > 0)


@pytest.mark.parametrize(("shot_tokens", "cached"), [(1023, 0), (1024, 1024), (1151, 1024), (1152, 1152)])
def test_floor_and_step_together(shot_tokens, cached):
    assert tokens.requests(model(MINI), demand(shot_tokens=shot_tokens)).cached == cached


def test_a_shot_more_costs_an_eighth():
    before, after = (bill(HAIKU, demand(shots), is_cached=True) for shots in (41, 42))
    assert before == bill(HAIKU)
    # 4,116 x 0.10 + 103 x 1.00 = 514.60, beside 4,121
    assert after["input"] + after["cached_input"] == pytest.approx(514.60, abs=1e-3)
    assert pytest.approx(1 / 8, rel=0.002) == 514.60 / 4121


def test_what_is_not_found_is_written():
    # of a million 100,000 miss: 100,000 x 4,116 x 1.25 = 514.50; 900,000 x 4,116 x 0.10 = 370.44
    amounts = bill(HAIKU, demand(42), is_cached=True, of=traffic(hits=0.9))
    assert amounts["cache_writes"] == pytest.approx(514.50)
    assert amounts["cached_input"] == pytest.approx(370.44)


@pytest.mark.parametrize(
    ("number", "ttl", "written"),
    [
        (1_000_000, 300, 30 * 288),  # each five minutes once
        (1_000_000, None, 1),
        (300, 300, 300),  # ten a day: nobody finds what the one before wrote
        (8640, 300, 8640),
        (8641, 300, 8640),
    ],
)
def test_what_nobody_asks_for_is_written_again(number, ttl, written):
    assert tokens.writes(model(HAIKU, cache_ttl_seconds=ttl), traffic(number), number) == written


def test_storage_is_paid_by_the_hour():
    # 4,116 tokens for 30 x 24 = 720 hours at 1.00 a million and hour: 2.96
    amounts = bill(HAIKU, demand(42), is_cached=True, cache_storage_per_million_hour=1.0)
    assert amounts["cache_storage"] == pytest.approx(4116 * 720 / 1e6)


def test_each_choice_may_be_a_request():
    # two prompts of 41 x 98 + 103 + 2 = 4,123 tokens, each with a token that is generated
    assert bill(MINI, requests_per_query="choices") == pytest.approx({"input": 2 * 4123 * 0.40, "output": 2 * 1.60})


def test_an_ensemble_has_a_prompt_for_each_shot():
    needed = demand(41, input_tokens=41 * 103, choice_tokens=41 * 4, num_prompts=41)
    asked = tokens.requests(model(HAIKU), needed)
    assert (asked.number, asked.shots, asked.rest, asked.answer) == (41, 98, 103, 2)
    assert bill(HAIKU, needed)["input"] == pytest.approx(41 * (98 + 103))


def test_another_tokenizer_counts_otherwise():
    assert bill(MINI, tokens_per_our_token=1.5)["input"] == pytest.approx(1.5 * 1648.40)
    assert tokens.requests(model(HAIKU, tokens_per_our_token=1.02), demand()).cached == 4098  # 4,018 x 1.02


def test_shots_of_their_own_are_not_cached():
    assert bill(HAIKU, demand(42, is_shared=False), is_cached=True) == bill(HAIKU, demand(42))


AMOUNTS = st.floats(0, 100)
TABLES = st.fixed_dictionaries(
    {
        "input": AMOUNTS,
        "output": AMOUNTS,
        "share": st.floats(0, 1),
        "cache_write": AMOUNTS,
        "cache_step": st.integers(1, 300),
        "cache_min_tokens": st.integers(0, 5000),
        "cache_ttl_seconds": st.floats(1, 1e6),
        "requests_per_query": st.sampled_from([1, "choices"]),
        "shots": st.integers(0, 60),
        "hits": st.floats(0, 1),
        "number": st.integers(1, 10**7),
    }
)


def drawn(facts):
    """A model, what is asked of it, and when, of what was drawn."""
    facts = dict(facts)
    needed, of = demand(facts.pop("shots")), traffic(facts.pop("number"), hits=facts.pop("hits"))
    facts["cached_input"] = facts.pop("share") * facts["input"]
    return model(HAIKU, **facts), needed, of


def total(priced, needed, of, is_cached):
    return sum(item.value for item in tokens.items(priced, needed, of, "USD", is_cached=is_cached))


@settings(max_examples=150, deadline=None)
@given(TABLES, st.integers(1, 10**6), st.booleans())
def test_more_queries_are_never_cheaper(facts, more, is_cached):
    priced, needed, of = drawn(facts)
    fewer, further = (
        total(priced, needed, of, is_cached),
        total(priced, needed, of.of(of.num_queries + more), is_cached),
    )
    assert fewer <= further * (1 + 1e-9)


@settings(max_examples=150, deadline=None)
@given(TABLES)
def test_cached_is_never_dearer_where_a_write_costs_no_more_than_input(facts):
    priced, needed, of = drawn(facts)
    priced = priced.model_copy(update={"cache_write": None})
    assert total(priced, needed, of, True) <= total(priced, needed, of, False) * (1 + 1e-9)


@settings(max_examples=150, deadline=None)
@given(TABLES)
def test_cached_is_dearer_exactly_where_writes_cost_more_than_hits_save(facts):
    priced, needed, of = drawn(facts)
    asked = tokens.requests(priced, needed)
    number = of.num_queries * asked.number
    written = tokens.writes(priced, of, number)
    saved = (number - written) * (priced.input - priced.cached_input)
    added = written * (priced.cache_write - priced.input)
    difference = total(priced, needed, of, True) - total(priced, needed, of, False)
    scale = total(priced, needed, of, False) + total(priced, needed, of, True)
    assert difference == pytest.approx((added - saved) * asked.cached / 1e6, abs=1e-9 * scale + 1e-12)


@settings(max_examples=100, deadline=None)
@given(TABLES)
def test_between_the_kinks_each_query_costs_the_same(facts):
    priced, needed, of = drawn(facts)
    places = [place for place in tokens.kinks(priced, needed, of) if place < 1e7]
    start = max((int(place) + 1 for place in places if place < of.num_queries), default=1)
    end = min((int(place) for place in places if place >= of.num_queries), default=10**7)
    if end - start < 2:
        return
    first, middle, last = (total(priced, needed, of.of(at), True) for at in (start, (start + end) // 2, end))
    line = first + (last - first) * ((start + end) // 2 - start) / (end - start)
    assert middle == pytest.approx(line, rel=1e-9, abs=1e-9)
