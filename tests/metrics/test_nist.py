"""NIST: hand arithmetic, and what it keeps of all rows."""

import numpy as np
import pytest

from peftbench import registry
from tests.metrics.needs import needs

pytestmark = needs("nist")

OUTPUTS = ["A b", "c"]
REFERENCES = [["a b c", "b a"], ["c d", ""]]


def penalty(ratio):
    return np.exp(np.log(0.5) / np.log(1.5) ** 2 * np.log(ratio) ** 2)


def test_nist_by_hand():
    """Of seven words a, b and c stand there twice; "a b" once after two of a. Three references of two examples."""
    expected = (3 * np.log2(7 / 2) / 3 + np.log2(2 / 1) / 1) * penalty(3 / (7 / (3 / 2)))
    assert registry.text_metric("nist").of(OUTPUTS, REFERENCES) == pytest.approx(expected)


def test_two_thirds_of_the_length_halve_it():
    metric = registry.text_metric("nist")
    full, short = metric.of(["a b c"], [["a b c"]]), metric.of(["a b"], [["a b c"]])
    assert (full, short) == pytest.approx((np.log2(3), np.log2(3) / 2))


def test_words_are_matched_as_often_as_one_reference_has_them():
    metric = registry.text_metric("nist")
    assert metric.of(["a a"], [["a b", "a c"]]) == pytest.approx(np.log2(2) / 2)


def test_a_sample_keeps_the_information_of_all_rows():
    """The first row twice: as often as before by the counts of both."""
    metric = registry.text_metric("nist")
    found = metric.value(np.array([2, 0]) @ metric.statistics_of(OUTPUTS, REFERENCES))
    assert found == pytest.approx((np.log2(7 / 2) + 1) * penalty(2 / (5 / 2)))
    assert metric.needs_all
