"""What a selector is: it indexes the texts of training rows, and says how similar a query is to each of them.

Shapes: rows are training rows; queries are the texts of queries, as a template renders them both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from peftbench.models.backbone import Backbone
from peftbench.models.shapes import EncoderSizes

Array = NDArray[Any]
QUERIES_AT_ONCE = 256
"""Whose similarities with all rows are in memory at once."""


class Index(Protocol):
    """The texts of training rows, ready to be compared with queries."""

    @property
    def num_bytes(self) -> int:
        """Bytes of its numbers, as they are in memory."""
        ...

    @property
    def seconds(self) -> float:
        """Wall time that it took to make."""
        ...

    @property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of each text that a model read to make it; nothing where no model did."""
        ...

    @property
    def sizes(self) -> EncoderSizes | None:
        """What the FLOPs of reading a text follow from; None where the backbone reads them, or no model does."""
        ...

    @property
    def num_multiplied(self) -> int:
        """Count its numbers that each query is multiplied with."""
        ...

    def query_tokens(self, queries: Sequence[str]) -> list[int]:
        """Count the tokens of each query that a model reads to compare it; nothing where no model does."""
        ...

    def similarities(self, queries: Sequence[str]) -> Array:
        """Compute how similar queries are to each row, (queries, rows) float; greater is more similar."""
        ...


class Embedder(Protocol):
    """A model that makes a vector of a text."""

    @property
    def name(self) -> str:
        """As messages call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of all that decides its vectors."""
        ...

    @property
    def sizes(self) -> EncoderSizes | None:
        """What its FLOPs follow from; None of the backbone."""
        ...

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenize texts, each by itself."""
        ...

    def pooled(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Compute the vector of each row of ids, (rows, d_model) float32."""
        ...


@dataclass(frozen=True)
class Selector:
    """A way to find rows that are like a query.

    Args:
        name: In the registry.
        package: Distribution whose version decides the similarities beside this package's; None for none.
        embedder: Returns the model that reads texts, the backbone or a sentence model; None where none does.
        index: Makes an index of texts; a selector may compute with the backbone, or with a sentence model's folder.
    """

    name: str
    package: str | None
    embedder: Callable[[Backbone, Path | None], Embedder] | None
    index: Callable[[Sequence[str], Backbone, Path | None], Index]


class Neighbours:
    """Chooses rows for queries.

    A row whose text is the query's, upper and lower case aside, is never chosen: the query's own row is among those.

    Args:
        index: Of the rows' texts.
        texts: Of the rows, in their order.
    """

    def __init__(self, index: Index, texts: Sequence[str]) -> None:
        self.index = index
        self._num_rows = len(texts)
        self._rows_of: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            self._rows_of.setdefault(text.casefold(), []).append(row)

    def nearest(self, queries: Sequence[str], number: int) -> list[list[int]]:
        """Rank rows for each query, the most similar one first; of equals the earlier one.

        Args:
            queries: Their texts.
            number: How many rows each gets; fewer where fewer have another text.

        Returns:
            For each query the places of rows in their order.
        """
        nearest = []
        for first in range(0, len(queries), QUERIES_AT_ONCE):
            part = queries[first : first + QUERIES_AT_ONCE]
            for query, similarity in zip(part, self.index.similarities(part), strict=True):
                places = np.argsort(-similarity, kind="stable")  # (rows,)
                if same := self._rows_of.get(query.casefold()):
                    places = places[~np.isin(places, same)]
                nearest.append(places[:number].tolist())
        return nearest
