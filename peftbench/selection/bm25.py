r"""BM25: a row is similar to a query where they have words in common that few rows have.

    similarity(q, d) = \sum_{w in q} idf(w) tf(w, d) / (tf(w, d) + k1 (1 - b + b |d| / mean |d|))
    idf(w) = ln(1 + (N - n(w) + 0.5) / (n(w) + 0.5)),   k1 = 1.5, b = 0.75

A word is a run of letters and digits, in lower case; nothing is stemmed and no word is left out, so that no language is
assumed. A word that stands twice in the query counts twice. The template's own words are in all rows, and so count for
next to nothing.

The package bm25s computes it: each word's part of each row's similarity is computed once, for the index, so that a
query adds up some columns. rank-bm25 goes through all rows in Python for each word of a query: one query against
Banking77's 10,003 rows takes it 89 ms, and bm25s 0.34 ms (one core); and it weighs words of more than half of the rows
by a rule of its own.

Paper: Robertson and Zaragoza, 2009, section 3.4.
Differs: without the factor k1 + 1, which changes no order, and with the idf of Lucene, which is never negative.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from peftbench.errors import MethodError, TaskError
from peftbench.models.backbone import Backbone
from peftbench.selection.base import Array, Selector

WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Bm25Index:
    """Each word's part of each row's similarity, as bm25s has it.

    Args:
        scores: The library's object.
        seconds: Wall time that it took to make.
    """

    scores: Any
    seconds: float
    tokens: tuple[int, ...] = ()
    sizes: None = None
    num_multiplied: int = 0

    @cached_property
    def num_bytes(self) -> int:
        """Bytes of the parts, float32, and of where they stand; the words themselves are left out."""
        return sum(array.nbytes for array in self.scores.scores.values() if isinstance(array, np.ndarray))

    def query_tokens(self, _queries: Sequence[str]) -> list[int]:
        """Return nothing: no model reads a query."""
        return []

    def similarities(self, queries: Sequence[str]) -> Array:
        """Compute BM25 of queries with each row, (queries, rows) float32; 0 where they share no word."""
        numbers = [self.scores.get_tokens_ids(words(query)) for query in queries]
        return np.stack([self.scores.get_scores_from_ids(of_query) for of_query in numbers])


def words(text: str) -> list[str]:
    """Split a text into its words, in lower case."""
    return WORD.findall(text.lower())


def index(texts: Sequence[str], _backbone: Backbone, _embedder: Path | None = None) -> Bm25Index:
    """Index the words of texts.

    Raises:
        MethodError: bm25s is not installed.
        TaskError: No text has any word.
    """
    try:
        import bm25s
    except ImportError:
        message = "--select bm25 needs the package bm25s, which is not installed"
        raise MethodError(message, hint="pip install 'peftbench[retrieval]'") from None
    started = time.perf_counter()
    rows = [words(text) for text in texts]
    # The library numbers words in the order of a set, which is another one in each process.
    numbers = {word: number for number, word in enumerate(dict.fromkeys(word for row in rows for word in row))}
    if not numbers:
        message = "no training row has a word, and BM25 compares words"
        raise TaskError(message, hint="--select random, or --select embedding")
    scores = bm25s.BM25(k1=1.5, b=0.75, method="lucene", backend="numpy", csc_backend="numpy")
    scores.index(([[numbers[word] for word in row] for row in rows], numbers), show_progress=False)
    return Bm25Index(scores, time.perf_counter() - started)


SELECTOR = Selector("bm25", "bm25s", None, index)
