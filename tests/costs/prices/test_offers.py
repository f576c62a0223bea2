"""Which offers there are, and break-evens against a search of every number of queries."""

import pytest

from peftbench.costs.prices.offers import break_even, offers
from peftbench.costs.prices.read import read
from tests.costs.prices.files import API, H100, HAIKU, MINI, ON_H100, toml
from tests.costs.prices.test_machines import tuned
from tests.costs.prices.test_tokens import demand

SERVED = MINI | {"name": "served", "for": ["tuned"]}


@pytest.fixture
def prices(tmp_path):
    def write(**tables):
        path = tmp_path / "prices.toml"
        path.write_text(toml(**tables))
        return read(str(path)).file

    return write


def test_prompts_are_paid_by_the_token_cached_or_not_or_by_the_hour(prices):
    file = prices(model=[HAIKU, MINI], hosting=[H100])
    assert [offer.title for offer in offers(file, demand(42, cached_query_flops=1))] == [
        "haiku",
        "haiku; shots cached",
        "mini",
        "mini; shots cached",
        "one H100; shots cached",
    ]
    assert [offer.title for offer in offers(file, demand(0, use="zero-shot"))] == ["haiku", "mini", "one H100"]


def test_what_is_tuned_is_trained_in_each_way_and_served_in_each(prices):
    file = prices(model=[HAIKU, SERVED], hosting=[H100], training=[API, ON_H100])
    assert [offer.title for offer in offers(file, tuned())] == [
        "served; api",
        "served; on one H100",
        "one H100; api",
        "one H100; on one H100",
    ]


def test_a_bill_names_its_items_formulas_and_sources(prices):
    offer = list(offers(prices(model=[HAIKU]), demand(42)))[1]
    bill = offer.bill(prices(model=[HAIKU]).workload)
    assert [item.name for item in bill.items] == ["input", "cached_input", "cache_writes", "output"]
    assert {item.kind for item in (*bill.items, bill.total)} == {"priced"}
    assert bill.items[0].convention == "1,000,000 x 103 tokens x 1 per million"
    assert bill.total.value == pytest.approx(sum(item.value for item in bill.items))
    assert bill.total.convention.endswith("prices: haiku: https://example.org/prices, as of 2026-10-14")


def test_without_a_price_of_training_there_is_no_total(prices):
    (offer,) = offers(prices(hosting=[H100]), tuned())
    total = offer.bill(prices(hosting=[H100]).workload).total
    assert (total.value, total.reason) == (None, "no [[training]] says what it costs")


def test_what_is_not_cached_says_why(prices):
    _, cached = offers(prices(model=[HAIKU]), demand(41))
    assert cached.why_uncached == "'haiku' caches from 4,096 tokens on, and the shots have 4,018"
    _, cached = offers(prices(model=[HAIKU]), demand(42))
    assert cached.why_uncached is None
    _, cached = offers(prices(model=[HAIKU]), demand(42, is_shared=False))
    assert "each query has shots of its own" in cached.why_uncached


def first_by_search(tuned_offer, prompted, traffic, most):
    def total(offer, number):
        return offer.bill(traffic.of(number)).total.value

    return next(
        (number for number in range(1, most) if total(tuned_offer, number) <= total(prompted, number)),
        None,
    )


def test_hosting_has_paid_for_itself_at_a_number_of_queries_a_day(prices):
    # a month of one H100 and its training: 2,059.20 + 0.0475; a query of 4,121 tokens and 2 to answer: 0.004131
    file = prices(model=[HAIKU], hosting=[H100], training=[ON_H100])
    (hosted,), (plain, _, _) = offers(file, tuned()), offers(file, demand(42))
    number = break_even(hosted, plain, file.workload)
    assert number == pytest.approx((2059.20 + 0.0475) / ((42 * 98 + 103 + 10) / 1e6), abs=2)
    assert number / 30 == pytest.approx(16_230, abs=15)


@pytest.mark.parametrize("shots", [1, 42])
@pytest.mark.parametrize("ttl", [None, 20_000])
@pytest.mark.parametrize("hits", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("query_flops", [1, 2e17])
def test_a_break_even_is_the_first_number_of_a_search(prices, shots, ttl, hits, query_flops):
    cheap = H100 | {"per_hour": 0.0002, "sustained_flops": 1e14}
    model = HAIKU | ({} if ttl is None else {"cache_ttl_seconds": float(ttl)})
    file = prices(
        model=[model, SERVED | {"input": 0.3, "cached_input": 0.3}],
        hosting=[cheap],
        training=[API, ON_H100],
        workload={"queries_per_day": 100.0, "days": 7, "cache_hit_rate": hits},
    )
    for tuned_offer in offers(file, tuned(query_flops=query_flops, num_examples=50)):
        for prompted in offers(file, demand(shots)):
            found = break_even(tuned_offer, prompted, file.workload)
            searched = first_by_search(tuned_offer, prompted, file.workload, 400)
            assert found == searched or (searched is None and (found is None or found >= 400))


def test_the_same_total_is_no_more(prices):
    # a day of one machine at 1.00 an hour is 24.00, a prompt of a million tokens is 1.00
    file = prices(
        model=[{name: value for name, value in HAIKU.items() if not name.startswith("cache")}],
        hosting=[H100 | {"per_hour": 1.0}],
        training=[API | {"per_million_tokens": 0.0}],
        workload={"queries_per_day": 1.0, "days": 1},
    )
    (hosted,) = offers(file, tuned())
    plain, _ = offers(file, demand(0, input_tokens=1_000_000, choice_tokens=0))
    assert break_even(hosted, plain, file.workload) == 24


def test_a_query_that_costs_more_after_tuning_never_pays(prices):
    dear = SERVED | {"input": 100.0}
    file = prices(model=[HAIKU, dear], training=[API])
    (served,), (plain, _) = offers(file, tuned()), offers(file, demand(42))
    assert break_even(served, plain, file.workload) is None


def test_an_unknown_amount_has_no_break_even(prices):
    file = prices(model=[HAIKU], hosting=[H100])
    (hosted,), (plain, *_) = offers(file, tuned()), offers(file, demand(42))
    assert break_even(hosted, plain, file.workload) is None
