import itertools

import numpy as np
import pytest

from peftbench.report.evidence.best_of import best_of
from peftbench.report.evidence.clusters import Clusters
from peftbench.report.evidence.significance import mcnemar
from tests.report.evidence.simulated import right


def answers(*texts):
    return np.array([[int(digit) for digit in text] for text in texts], float)


def test_one_candidate_is_mcnemars_test():
    first, second = answers("1111111101" * 2, "1111000000" * 2)
    # 4 + 4 + 2 rows that the first alone gets right: two-sided 2 / 2^10
    assert mcnemar(0, 10) == 2 / 1024
    test = best_of(first[None], second, Clusters.of(range(20)), "x", num_draws=200_000)
    assert 2 * test.p_value == pytest.approx(mcnemar(0, 10), rel=0.15)


def test_several_candidates_against_all_signs_counted():
    rng = np.random.default_rng(0)
    candidates, (rival,), clusters = (
        right([0.9, 0.8, 0.6], 10, rng),
        right([0.4], 10, rng),
        Clusters.of([0, 0, *range(1, 9)]),
    )
    differences = clusters.sums(candidates - rival)
    scale = np.sqrt(1 + (differences**2).sum(axis=1))
    highest = [(differences * signs).sum(axis=1) / scale for signs in itertools.product((-1, 1), repeat=9)]
    best = candidates.mean(axis=1).argmax()
    exact = np.mean([max(values) >= differences[best].sum() / scale[best] - 1e-9 for values in highest])
    assert 0 < exact < 0.5
    assert best_of(candidates, rival, clusters, "x", num_draws=50_000).p_value == pytest.approx(exact, abs=0.01)


def test_more_candidates_have_to_be_further_ahead():
    rng = np.random.default_rng(0)
    candidates, rival = right([0.7] * 8, 100, rng), right([0.7], 100, rng)[0]
    criticals = [best_of(candidates[:number], rival, Clusters.of(range(100)), "x").critical for number in (1, 4, 8)]
    assert criticals[0] == pytest.approx(1.96, abs=0.1)
    assert criticals[0] < criticals[1] < criticals[2] < 2.8


def test_the_best_of_equals_is_rarely_called_better_where_a_plain_test_often_does():
    rng, clusters, corrected, plain, num_times = np.random.default_rng(0), Clusters.of(range(60)), 0, 0, 200
    for time in range(num_times):
        candidates, (rival,) = right([0.7] * 8, 60, rng), right([0.7], 60, rng)
        best = candidates[[candidates.mean(axis=1).argmax()]]
        corrected += best_of(candidates, rival, clusters, str(time), num_draws=400).p_value < 0.025
        plain += best_of(best, rival, clusters, str(time), num_draws=400).p_value < 0.025
    assert corrected <= 0.05 * num_times
    assert plain > 2 * corrected


def test_rows_that_belong_together_have_one_sign():
    first, second = answers("1111111111", "0000000000")
    alone = best_of(first[None], second, Clusters.of(range(10)), "x")
    pairs = best_of(first[None], second, Clusters.of([0, 0, 1, 1, 2, 2, 3, 3, 4, 4]), "x")
    assert alone.p_value < 0.01 < pairs.p_value == pytest.approx(1 / 32, abs=0.01)
