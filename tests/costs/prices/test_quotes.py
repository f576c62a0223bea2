"""Strategies with what each offer comes to."""

import pytest

from peftbench.costs.prices.quotes import quote
from peftbench.costs.prices.read import read
from tests.costs.prices.files import API, H100, HAIKU, ON_H100, toml
from tests.costs.prices.test_machines import tuned
from tests.costs.prices.test_tokens import demand


@pytest.fixture
def money(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(toml(model=[HAIKU], hosting=[H100], training=[API, ON_H100]))
    return quote(read(str(path)), [demand(41), None, tuned(), demand(42)])


def test_the_cheapest_comes_first(money):
    totals = [quoted.total for quoted in money.quotes]
    assert totals == sorted(totals)
    assert money.cheapest([0, 3]).offer.title == "haiku; shots cached"
    assert [quoted.place for quoted in money.of(2)] == [2, 2]


def test_what_has_no_offer_is_listed(money):
    assert money.unpriced == (1,)
    assert money.cheapest([1]) is None
    assert [offer.demand.shot_tokens for offer in money.uncached] == [4018]


def test_a_break_even_is_told_by_the_day_as_well(money):
    points = list(money.points([2], [0]))
    assert len(points) == 2 * 2
    beside_api = next(point for point in points if point.prompted.offer.title == "haiku")
    assert beside_api.queries_per_day == -(-beside_api.queries // 30)
