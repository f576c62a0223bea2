"""The corrected estimate: against the definition, word by word, and against known accuracies."""

import time

import numpy as np
import pytest

from peftbench.report.evidence import selection
from peftbench.report.evidence.clusters import Clusters
from tests.report.evidence.simulated import right


def test_a_draw_chooses_on_its_rows_and_scores_on_the_others():
    rng = np.random.default_rng(0)
    answers, clusters = right([0.6, 0.7, 0.8], 12, rng), Clusters.of([0, 0, *range(1, 11)])
    places = np.random.default_rng(selection.zlib.crc32(b"x")).integers(11, size=(50, 11))
    expected = []
    for drawn in places:
        rows = [row for cluster in drawn for row in np.flatnonzero(clusters.of_row == cluster)]
        others = [row for row in range(12) if row not in rows]
        best = max(range(3), key=lambda candidate: (answers[candidate, rows].sum(), -candidate))
        if others:
            expected.append(answers[best, others].mean())
    assert selection.drawn(answers, clusters, "x", 50) == pytest.approx(expected)


def test_one_candidate_needs_no_correction():
    answers = right([0.8], 200, np.random.default_rng(1))
    estimate = selection.corrected(answers, Clusters.of(range(200)), "x")
    assert estimate.value == answers.mean()
    assert selection.drawn(answers, Clusters.of(range(200)), "x").mean() == pytest.approx(answers.mean(), abs=0.003)


def test_wilson_by_hand():
    # Brown, Cai and DasGupta 2001: 20 of 100
    assert selection.wilson(0.2, 100) == pytest.approx((0.1334, 0.2888), abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_what_was_always_right_is_not_certain_to_be(value):
    estimate = selection.corrected(np.full((2, 40), value), Clusters.of(range(40)), "x")
    assert estimate.value == value
    assert estimate.interval[1] - estimate.interval[0] > 0.08


def test_a_single_cluster_leaves_nothing_over_and_says_what_it_has():
    estimate = selection.corrected(np.array([[1.0, 0.0]]), Clusters.of([0, 0]), "x")
    assert estimate.value == 0.5
    assert estimate.interval[0] < 0.1


def test_two_thousand_draws_of_300_rows_take_less_than_a_second():
    answers, started = right([0.8] * 12, 300, np.random.default_rng(2)), time.process_time()
    selection.corrected(answers, Clusters.of(range(300)), "x")
    assert time.process_time() - started < 1


@pytest.mark.parametrize("num_rows", [40, 80, 160])
@pytest.mark.parametrize("accuracies", [[0.8] * 8, [0.95] * 8, list(np.linspace(0.55, 0.85, 8))], ids=str)
def test_the_interval_of_the_chosen_covers_its_accuracy_and_a_plain_bootstrap_covers_it_less(
    accuracies, num_rows, monkeypatch
):
    monkeypatch.setattr(selection.drawn, "__defaults__", (300,))
    rng, clusters, num_times, corrected, plain, bias = (
        np.random.default_rng(0),
        Clusters.of(range(num_rows)),
        60,
        0,
        0,
        0,
    )
    for time_ in range(num_times):
        answers = right(accuracies, num_rows, rng)
        best = answers.mean(axis=1).argmax()
        estimate = selection.corrected(answers, clusters, str(time_))
        again = answers[best][rng.integers(num_rows, size=(300, num_rows))].mean(axis=1)
        low, high = np.quantile(again, (0.025, 0.975))
        corrected += estimate.interval[0] <= accuracies[best] <= estimate.interval[1]
        plain += low <= accuracies[best] <= high
        bias += (estimate.value - accuracies[best]) / num_times
    assert corrected >= 0.9 * num_times
    assert plain <= corrected
    assert abs(bias) < 0.03
