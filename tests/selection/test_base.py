"""Which rows are chosen, whatever finds them alike: never the query's own, in an order that nothing shifts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from peftbench.selection.base import QUERIES_AT_ONCE, Neighbours


class Letters:
    """Similarity is the number of letters in common, so that many rows are equally similar."""

    def __init__(self, texts):
        self.texts = texts

    def similarities(self, queries):
        assert len(queries) <= QUERIES_AT_ONCE
        return np.array([[len(set(query) & set(text)) for text in self.texts] for query in queries], dtype=float)


TEXTS = st.lists(st.text("aAbc ", max_size=4), min_size=1, max_size=12)


@given(TEXTS, st.lists(st.text("aAbc ", max_size=4), min_size=1, max_size=3), st.integers(1, 12))
def test_no_row_of_the_querys_text_is_chosen_and_no_other_one_is_left_out(texts, queries, number):
    index = Letters(texts)
    for query, chosen in zip(queries, Neighbours(index, texts).nearest(queries, number), strict=True):
        (similarity,) = index.similarities([query])
        others = [row for row, text in enumerate(texts) if text.casefold() != query.casefold()]
        assert chosen == sorted(others, key=lambda row: (-similarity[row], row))[:number]


def test_many_queries_are_compared_a_part_at_a_time():
    texts = ["a", "b", "ab"]
    queries = ["b", "a"] * QUERIES_AT_ONCE
    assert Neighbours(Letters(texts), texts).nearest(queries, 1) == [[2], [2]] * QUERIES_AT_ONCE
