r"""The k nearest shots by the cosine of embeddings vote: no prompt, nothing is trained.

    p(c | x) = 1/k \sum_{i in N_k(x)} [y_i = c],   N_k(x): the k shots of the greatest e(x) e(x_i)

Each of the k has one vote. Of equally similar shots the earlier one is nearer; of classes with as many votes the first
one in the order of the answer choices is the answer. With fewer than k shots all of them vote.

k = 5 is scikit-learn's default, and was fixed before any score was seen.

Paper: Cover and Hart, 1967, https://doi.org/10.1109/TIT.1967.1053964.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from peftbench.classifiers.base import INT32_BYTES, Array, Classifier, ClassifierConfig
from peftbench.spec import limits

PAPER = "10.1109/TIT.1967.1053964"


class Config(ClassifierConfig):
    """Settings of the nearest neighbours.

    Args:
        k: How many shots vote.
    """

    k: int = Field(5, ge=1, le=limits.MAX_SHOTS)


@dataclass(frozen=True)
class Neighbours:
    """The shots that vote.

    Args:
        embeddings: Of the shots, float32.
        labels: Theirs.
        num_classes: Of the task.
        k: How many vote for a query.
    """

    embeddings: Array
    labels: Array
    num_classes: int
    k: int
    num_parameters: int = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the embeddings, and of the labels as int32."""
        return self.embeddings.nbytes + INT32_BYTES * len(self.labels)

    @property
    def num_multiplied(self) -> int:
        """Count the numbers of all embeddings."""
        return self.embeddings.size

    def probabilities(self, embeddings: Array) -> Array:
        """Compute each class's share of the votes, (texts, classes) float64."""
        similarities = embeddings @ self.embeddings.T  # (texts, shots)
        nearest = np.argsort(-similarities, axis=1, kind="stable")[:, : self.k]  # (texts, k)
        votes = self.labels[nearest][..., None] == np.arange(self.num_classes)  # (texts, k, classes)
        shares: Array = votes.mean(1)
        return shares


def fit(embeddings: Array, labels: Sequence[int], num_classes: int, config: Config) -> Neighbours:
    """Keep the shots."""
    return Neighbours(embeddings, np.array(labels), num_classes, config.k)


CLASSIFIER = Classifier("knn", None, None, False, Config, fit)
