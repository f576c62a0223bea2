import numpy as np
import pytest

from peftbench.report.evidence import lead, power
from peftbench.report.evidence.clusters import Clusters
from tests.report.evidence.simulated import right


def test_by_hand():
    # (1.96 + 0.8416) x 0.05; twice as exact takes four times the rows
    assert power.detectable(0.05, 1.96) == pytest.approx(0.14008, abs=1e-5)
    assert power.num_more_rows(0.25, 0.5, 60) == 180
    assert power.num_more_rows(-0.25, 0.5, 60) == 180
    assert power.num_more_rows(-0.2, 0.14, 60) == 0


def test_what_is_detectable_is_shown_in_four_of_five_cases():
    rng, num_rows, num_shown, num_times = np.random.default_rng(3), 300, 0, 100
    accuracies, clusters = (0.7, 0.7), Clusters.of(range(300))
    wide = right(accuracies, 20_000, rng)
    difference = power.detectable((wide[0] - wide[1]).std() / np.sqrt(num_rows), 1.96)
    for time in range(num_times):
        first, second = right((0.7 + difference, 0.7), num_rows, rng)
        num_shown += lead.best_of(first[None], second, clusters, str(time), num_draws=400).p_value < 0.025
    assert 0.7 * num_times <= num_shown <= 0.9 * num_times
