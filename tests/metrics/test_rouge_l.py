"""ROUGE-L by both definitions: hand arithmetic, and where they part."""

import pytest

from peftbench import registry
from tests.metrics.needs import needs
from tests.metrics.test_text import OUTPUTS, REFERENCES

NAMES = [pytest.param(name, marks=needs(name)) for name in ("rouge_l", "rouge_score_l")]
APART = ["bread wine fish soup"], [["bread wine", "bread wine fish with hot oil"]]


@pytest.mark.parametrize("name", NAMES)
def test_rouge_l_by_hand(name):
    """Seven of eight words in their order; both of two; none."""
    assert registry.text_metric(name).of(OUTPUTS, REFERENCES) == pytest.approx((7 / 8 + 1 + 0) / 3)


@needs("rouge_l")
@needs("rouge_score_l")
def test_recall_and_precision_may_be_of_different_references():
    recall, precision = 2 / 2, 3 / 4
    expected = (1 + 1.2**2) * recall * precision / (recall + 1.2**2 * precision)
    assert registry.text_metric("rouge_l").of(*APART) == pytest.approx(expected)
    assert registry.text_metric("rouge_score_l").of(*APART) == pytest.approx(2 * 2 / (4 + 2))
