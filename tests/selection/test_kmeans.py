import itertools

import numpy as np
import pytest

from peftbench.errors import TaskError
from peftbench.selection import kmeans
from tests.tiny import tiny_backbone

POINTS = np.array([[0, 0], [0.1, 0], [0.2, 0], [5, 5], [5, 5.3], [9, 0]], dtype=np.float32)


def test_rows_stand_for_groups():
    assert kmeans.representatives(POINTS, 3, seed=0) in ([1, 3, 5], [1, 4, 5])  # of two the means are as near
    assert kmeans.representatives(POINTS[:3], 1, seed=0) == [1]


def test_groups_are_those_of_the_least_squares():
    """Of all ways to part six points in three groups, tried one by one."""

    def squares(groups):
        return sum(((POINTS[group] - POINTS[group].mean(0)) ** 2).sum() for group in groups)

    parts = []
    for labels in itertools.product(range(3), repeat=len(POINTS)):
        if set(labels) == {0, 1, 2}:
            parts.append([np.flatnonzero(np.array(labels) == group) for group in range(3)])
    best = min(parts, key=squares)
    chosen = kmeans.representatives(POINTS, 3, seed=1)
    assert sorted(sum(place in group for place in chosen) for group in best) == [1, 1, 1]


def test_what_reading_took_is_of_different_texts():
    backbone = tiny_backbone("gpt2")
    texts = ["the premise says", "the question", "the premise says", "does that follow"]
    places, work = kmeans.choose(backbone, texts, 3, seed=0)
    assert sorted(texts[place] for place in places) == sorted(set(texts))
    assert len(work.index_tokens) == 3
    with pytest.raises(TaskError, match="4 shots stand for as many groups of rows, and the rows have 3 different"):
        kmeans.choose(backbone, texts, 4, seed=0)
