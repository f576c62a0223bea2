"""METEOR: hand arithmetic on the program's counts, and the program's own value of them."""

import subprocess

import numpy as np
import pytest

from peftbench import registry
from peftbench.errors import RunError
from peftbench.metrics import meteor
from tests.metrics.needs import needs
from tests.metrics.test_text import OUTPUTS, REFERENCES

# Counts of the program, all modules, for the 630 outputs of tests/metrics/test_published.py.
TGEN = [15670, 15353, 6253, 6009, 7867, 7867, 4480, 4480, 112, 112, 0, 0, 117, 134, 28, 11, 153, 170, 352, 316]
TGEN += [4057, 13109, 13090]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """The table of paraphrases takes six seconds to read."""
    monkeypatch.setattr(meteor, "MODULES", "exact stem")


def f(precision, recall):
    return precision * recall / (0.85 * precision + 0.15 * recall)


def test_what_the_program_counts_for_the_published_outputs_has_the_published_value():
    assert round(100 * float(registry.text_metric("meteor").value(np.array(TGEN, dtype=float))), 2) == 44.83


def test_meteor_by_hand():
    """Of eight words five are of function, of the reference's seven four; seven match in two chunks, three by content.

    A second example's word is a paraphrase of two, a third matches in nothing; the sums are of all three.
    """
    first = [8, 7, 5, 4, 3, 3, 4, 4, *[0] * 12, 2, 7, 7]
    second = [1, 2, 0, 0, *[0] * 12, 1, 2, 0, 0, 1, 1, 2]
    third = [0, 2, 0, 1, *[0] * 19]
    counts, metric = np.array([first, second, third], dtype=float), registry.text_metric("meteor")
    precision = (0.75 * (3 + 0.6) + 0.25 * 4) / (0.75 * (9 - 5) + 0.25 * 5)
    recall = (0.75 * (3 + 1.2) + 0.25 * 4) / (0.75 * (11 - 5) + 0.25 * 5)
    assert metric.value(counts.sum(0)) == pytest.approx(f(precision, recall) * (1 - 0.6 * (3 / 8.5) ** 0.2))
    assert metric.value(counts) == pytest.approx([
        f(3.25 / 3.5, 1) * (1 - 0.6 * (2 / 7) ** 0.2),
        f(0.6, 0.6) * (1 - 0.6 * (1 / 1.5) ** 0.2),
        0,
    ])  # fmt: skip


@needs("meteor")
def test_the_program_counts_what_was_counted_by_hand():
    counts = registry.text_metric("meteor").statistics_of(OUTPUTS, REFERENCES)
    assert counts.tolist() == [
        [8, 7, 5, 4, 3, 3, 4, 4, *[0] * 12, 2, 7, 7],
        [2, 2, 0, 0, 2, 2, 0, 0, *[0] * 12, 0, 2, 2],
        [0, 2, 0, 1, *[0] * 19],
    ]


@needs("meteor")
def test_a_sample_has_the_programs_value_of_the_rows_that_it_holds():
    metric = registry.text_metric("meteor")
    outputs = [*OUTPUTS, "a café serves cakes", "the pub serves the pub"]
    references = [*REFERENCES, ["The café served a cake"], ["The pub, it serves."]]
    counts, sample = metric.statistics_of(outputs, references), [0, 1, 1, 3, 3, 3, 4]
    line = " ||| ".join(["EVAL", *(" ".join(map(str, counts[row])) for row in sample)])
    done = subprocess.run(meteor.command(), input=f"{line}\n", capture_output=True, encoding="utf-8", check=True)
    theirs = [float(number) for number in done.stdout.split()]
    assert metric.value(counts[sample]) == pytest.approx(theirs[:-1])
    assert metric.value(counts[sample].sum(0)) == pytest.approx(theirs[-1])


@needs("meteor")
def test_an_output_cannot_bring_references_of_its_own():
    metric = registry.text_metric("meteor")
    assert metric.of(["a hat ||| cheap food"], [["cheap food"]]) < metric.of(["cheap food"], [["cheap food"]])
    assert metric.of(["x\ny\u2028z"], [["x y z"]]) == 1


@needs("meteor")
def test_a_program_that_fails_says_so_in_one_line(monkeypatch):
    monkeypatch.setattr(meteor, "MODULES", "no-such-module")
    with pytest.raises(RunError, match=r"meteor-1.5.jar answered 0 of 3 examples: .*no-such-module") as caught:
        registry.text_metric("meteor").statistics_of(OUTPUTS, REFERENCES)
    assert "\n" not in caught.value.message
