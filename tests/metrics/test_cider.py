"""CIDEr: hand arithmetic, and what it keeps of all rows."""

import numpy as np
import pytest

from peftbench import registry
from tests.metrics.needs import needs

pytestmark = needs("cider")

OUTPUTS = ["red pub", "big hall"]
REFERENCES = [["red bar"], ["big red hall", ""]]


def test_cider_by_hand():
    """ "red" is in all references and weighs nothing; "big" and "hall" weigh log 2; lengths differ by a word."""
    expected = (0 + 10 / 4 * np.exp(-1 / (2 * 6**2))) / 2
    assert registry.text_metric("cider").of(OUTPUTS, REFERENCES) == pytest.approx(expected)


def test_a_part_of_the_rows_is_scored_with_other_weights():
    """By itself a row has no n-gram that is not in all references."""
    metric = registry.text_metric("cider")
    assert metric.of(OUTPUTS[1:], REFERENCES[1:]) == 0
    of_all = metric.value(np.array([0, 2]) @ metric.statistics_of(OUTPUTS, REFERENCES))
    assert of_all == pytest.approx(10 / 4 * np.exp(-1 / 72))
    assert metric.needs_all


def test_references_that_are_alike_count_each():
    """Half of them is hit."""
    metric = registry.text_metric("cider")
    assert metric.of(["tea", "milk"], [["tea", "cake"], ["milk"]]) == pytest.approx((2.5 / 2 + 2.5) / 2)
