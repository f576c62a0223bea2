import numpy as np
import pytest

from peftbench.report.evidence import lead
from peftbench.report.evidence.clusters import Clusters
from tests.report.evidence.simulated import right

HUNDRED = Clusters.of(range(100))


def sides(both, first, second):
    """Answers of two sides to 100 rows: right both, the first alone, the second alone, none."""
    rows = np.zeros((2, 100))
    rows[:, :both] = 1
    rows[0, both : both + first] = 1
    rows[1, both + first : both + first + second] = 1
    return rows[[0]], rows[[1]]


def test_a_pair_by_hand():
    found = lead.between(*sides(50, 20, 10), HUNDRED, "x")
    assert found.value == pytest.approx(0.1)
    # critical sqrt(1 + 30) / 100 and (critical + 0.84) sqrt(100/99 (30 - 100 x 0.1^2)) / 100, critical about 1.96
    assert found.interval == pytest.approx((0.1 - 1.96 * 0.05568, 0.1 + 1.96 * 0.05568), abs=0.01)
    assert found.detectable == pytest.approx(2.8 * np.sqrt(29 * 100 / 99) / 100, abs=0.01)
    # McNemar: 2 P(X <= 10), X of 30 flips
    assert found.p_value == pytest.approx(0.0987, abs=0.01)
    assert found.num_more_rows == pytest.approx(100 * (found.detectable / 0.1) ** 2 - 100, abs=1)


def test_sides_mirror_each_other():
    first, second = right([0.8, 0.7], 100, np.random.default_rng(0)), right([0.6, 0.6], 100, np.random.default_rng(1))
    one, other = lead.between(first, second, HUNDRED, "x"), lead.between(second, first, HUNDRED, "x")
    assert (one.value, one.p_value, one.num_more_rows) == (-other.value, other.p_value, other.num_more_rows)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_zero_is_in_the_interval_where_nothing_is_shown():
    rng = np.random.default_rng(0)
    for time in range(40):
        first, second = right([0.8, 0.7], 100, rng), right([0.65, 0.6], 100, rng)
        found = lead.between(first, second, HUNDRED, str(time))
        if abs(found.p_value - 0.05) > 0.005:
            assert found.is_shown is not (found.interval[0] <= 0 <= found.interval[1])


def test_what_is_shown_or_not_seen_at_all_needs_no_more_rows():
    assert lead.between(*sides(40, 40, 5), HUNDRED, "x").num_more_rows is None
    assert lead.between(*sides(40, 10, 10), HUNDRED, "x").num_more_rows is None


def test_equal_answers_show_nothing_and_are_not_certain():
    found = lead.between(*sides(60, 0, 0), HUNDRED, "x")
    assert (found.value, found.p_value, found.detectable, found.num_more_rows) == (0, 1, None, None)
    assert found.interval == pytest.approx((-0.0196, 0.0196), abs=1e-4)


def test_over_a_rival_is_one_sided():
    first, second = sides(50, 20, 10)
    assert lead.over(first, second[0], HUNDRED, "x").p_value == pytest.approx(0.0494, abs=0.006)
    assert lead.over(second, first[0], HUNDRED, "x").p_value > 0.9


def test_rows_that_stand_twice_are_no_further_evidence():
    first, second = sides(50, 20, 10)
    once = lead.between(first, second, HUNDRED, "x")
    twice = lead.between(np.tile(first, 2), np.tile(second, 2), Clusters.of([*range(100)] * 2), "x")
    assert twice.p_value == pytest.approx(once.p_value, abs=0.01)
    assert twice.detectable == pytest.approx(once.detectable, abs=0.01)
    assert lead.between(np.tile(first, 2), np.tile(second, 2), Clusters.of(range(200)), "x").p_value < once.p_value / 2
