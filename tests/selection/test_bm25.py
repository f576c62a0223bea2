"""BM25 against the library as its users call it, and against the formula by hand."""

import math
import sys

import bm25s
import numpy as np
import pytest

from peftbench.errors import MethodError, TaskError
from peftbench.selection import bm25

TEXTS = ["The cat sat.", "a dog, a dog ran", "the cat ran off", "Rain all week"]
QUERIES = ["Cat and dog ran", "the the cat", "rain!", "nothing here"]


def test_rankings_are_the_librarys():
    library = bm25s.BM25()
    library.index(bm25s.tokenize(TEXTS, stopwords=[], token_pattern=r"\w+", show_progress=False), show_progress=False)
    index = bm25.index(TEXTS, None)
    expected = [library.get_scores([word.strip(",.!") for word in query.lower().split()]) for query in QUERIES]
    np.testing.assert_allclose(index.similarities(QUERIES), expected, rtol=1e-6)
    np.testing.assert_array_equal(index.similarities(["!!"]), [[0] * len(TEXTS)])


def test_a_similarity_by_hand():
    """Four rows of 3, 5, 4 and 3 words; "dog" stands twice in one of them."""
    (similarity,) = bm25.index(TEXTS, None).similarities(["dog"])
    idf = math.log(1 + (4 - 1 + 0.5) / (1 + 0.5))
    assert similarity[1] == pytest.approx(idf * 2 / (2 + 1.5 * (1 - 0.75 + 0.75 * 5 / 3.75)), rel=1e-6)
    assert [similarity[row] for row in (0, 2, 3)] == [0, 0, 0]


def test_the_index_is_as_large_as_its_numbers():
    """A value and a row for each different pair of row and word, and where each of the ten words begins and ends."""
    pairs, words = 3 + 3 + 4 + 3, 10
    index = bm25.index(TEXTS, None)
    assert index.num_bytes == 4 * pairs + 4 * pairs + index.scores.scores["indptr"].itemsize * (words + 1)
    assert (index.tokens, index.query_tokens(["cat"]), index.num_multiplied) == ((), [], 0)


def test_rows_without_words_are_refused():
    with pytest.raises(TaskError, match="no training row has a word") as error:
        bm25.index(["!!", "?"], None)
    assert "--select" in error.value.hint


def test_without_the_package_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MethodError, match="needs the package bm25s") as error:
        bm25.index(TEXTS, None)
    assert "peftbench[retrieval]" in error.value.hint
