import numpy as np
import pytest

from peftbench.report.rows import strata


@pytest.mark.parametrize("labels", [[0, 1] * 5, [2, 0, 0, 5, 0, 2, 0], [0, 0]])
def test_of_each_label_as_many_are_drawn_as_there_are(labels):
    labels = np.array(labels)
    drawn = strata.drawn(np.random.default_rng(0), (50, len(labels)), labels)
    assert (labels[drawn] == labels).all()
    for label in np.unique(labels):
        assert set(drawn[:, labels == label].ravel()) == set(np.flatnonzero(labels == label))


def test_the_first_of_each_label_are_a_group_and_the_second_and_so_on():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 4], 40))
    groups = strata.groups(120, labels)
    for label in (0, 1, 4):
        assert groups[labels == label].tolist() == list(range(40))


def test_of_unequal_labels_a_group_has_about_the_share_of_the_whole():
    labels = np.array([0] * 40 + [1] * 100)
    groups = strata.groups(140, labels)
    sizes = [np.bincount(groups[labels == label]) for label in (0, 1)]
    assert sizes[0].tolist() == [1] * 40
    assert set(sizes[1]) == {2, 3}


def test_few_rows_of_a_label_and_labels_that_are_not_fixed_make_no_groups():
    assert strata.groups(50, np.array([0] * 29 + [1] * 21)).tolist() == list(range(50))
    assert strata.groups(4, None).tolist() == [0, 1, 2, 3]


def test_the_remark_names_tasks_where_not_all_are_drawn_so():
    assert strata.remark({"a": False, "b": False}) is None
    assert strata.remark({"a": True, "b": True}) == strata.WITHIN
    assert strata.remark({"a": True, "b": False, "c": True}) == f"{strata.WITHIN}, on a, c"
