import numpy as np
import pytest

from peftbench.report.evidence.clusters import Clusters

PAIRS = Clusters.of(["a", "b", "a", "c", "b", "c"])
VALUES = np.array([1.0, 0, 1, 0, 0, 1])


def test_clusters_are_numbered_in_the_order_of_their_first_rows():
    assert PAIRS.of_row.tolist() == [0, 1, 0, 2, 1, 2]
    assert (PAIRS.num_rows, PAIRS.number, PAIRS.sizes.tolist()) == (6, 3, [2, 2, 2])


def test_sums_are_those_of_each_cluster_for_one_line_and_for_many():
    assert PAIRS.sums(VALUES).tolist() == [2, 0, 1]
    assert PAIRS.sums(np.array([VALUES, 2 * VALUES])).tolist() == [[2, 0, 1], [4, 0, 2]]
    assert Clusters.of([3, 1, 2]).sums(np.array([[5, 6, 7]])).tolist() == [[5, 6, 7]]


def test_the_error_without_clusters_is_the_standard_error_of_a_mean():
    assert Clusters.of(range(6)).error(VALUES) == pytest.approx(VALUES.std(ddof=1) / np.sqrt(6))


def test_rows_that_stand_twice_are_as_sure_as_once():
    once = np.array([1.0, 0, 1, 1, 0])
    assert Clusters.of([0, 1, 2, 3, 4] * 2).error(np.tile(once, 2)) == pytest.approx(Clusters.of(range(5)).error(once))


def test_one_cluster_has_no_error():
    assert Clusters.of(["a", "a"]).error(np.array([0.0, 1])) == 0
