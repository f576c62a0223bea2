"""What a classifier is: it learns from the embeddings of shots and gives each class a probability for a query's.

Shapes: embeddings (texts, d_model), each of length 1; labels (texts); probabilities (texts, classes).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from peftbench.spec.settings import Settings

if TYPE_CHECKING:
    from peftbench.models.sentence_model import SentenceModel

Array = NDArray[Any]
FLOAT32_BYTES = INT32_BYTES = 4


class ClassifierConfig(Settings):
    """Settings of a classifier.

    Args:
        embedder: Folder of a sentence model that makes the embeddings; None for the backbone's own mean hidden states.
    """

    embedder: Path | None = None


class Fitted(Protocol):
    """A classifier that has learned."""

    @property
    def num_bytes(self) -> int:
        """Bytes of what it has to keep, numbers of 4 bytes."""
        ...

    @property
    def num_multiplied(self) -> int:
        """Count its numbers that each query is multiplied with."""
        ...

    @property
    def num_parameters(self) -> int:
        """Count the values that were fitted."""
        ...

    def probabilities(self, embeddings: Array) -> Array:
        """Compute the probability of each class, (texts, classes) float64; 0 of a class that no shot has."""
        ...


@dataclass(frozen=True)
class Trained:
    """A sentence model that was trained.

    Args:
        encoder: It.
        tokens: Of each text that training read, each time that it did.
    """

    encoder: "SentenceModel"
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Classifier:
    """A classifier of embeddings.

    Args:
        name: In the registry.
        package: Distribution that fits it; None where this package does.
        extra: The extra that installs it; None likewise.
        tells_apart: Whether the shots must be of two classes or more.
        Config: Its settings.
        fit: Learns from embeddings and labels, with the number of classes.
        train: Trains the sentence model that makes the embeddings, from texts, labels, settings and a seed; None where
            it stays as it is.
        num_trained: Number of texts that training reads, of so many shots.
    """

    name: str
    package: str | None
    extra: str | None
    tells_apart: bool
    Config: type[ClassifierConfig]
    fit: Callable[[Array, Sequence[int], int, Any], Fitted]
    train: "Callable[[SentenceModel, Sequence[str], Sequence[int], Any, int], Trained] | None" = None
    num_trained: Callable[[int, Any], int] = lambda num_shots, config: 0
