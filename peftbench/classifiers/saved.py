"""A trained sentence model and its head on disk: a folder of sentence-transformers, with the regression beside it.

head.safetensors holds coefficients (rows, d_model), intercepts (rows) and the classes (classes) that they tell apart,
in float64: two classes have one row. classifier.json says by checksums that the parts belong together.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from peftbench.classifiers.base import Array
from peftbench.classifiers.logistic_regression import Regression
from peftbench.errors import MethodError
from peftbench.models import sentence_model, weights
from peftbench.models.sentence_model import SentenceModel
from peftbench.spec.settings import Settings
from peftbench.store import files, seal

HEAD, CARD = "head.safetensors", "classifier.json"
FORMAT_VERSION = 1
AGAIN = "copy the folder again, or tune again"


class Card(Settings):
    """The contents of classifier.json.

    Args:
        classifier: Name in the registry.
        num_classes: Of the task.
        fingerprint: Of the sentence model.
        head_sha256: Of the head's file.
    """

    format_version: int = FORMAT_VERSION
    classifier: str
    num_classes: int
    fingerprint: str
    head_sha256: str


@dataclass(frozen=True)
class Linear:
    """A regression as it was saved, with scikit-learn's names.

    Shapes: embeddings (texts, d_model) float64; probabilities (texts, classes that there were shots of) float64.
    """

    coef_: Array
    intercept_: Array
    classes_: Array

    def predict_proba(self, embeddings: Array) -> Array:
        """Compute the probabilities: of two classes a sigmoid, of more a softmax."""
        logits = embeddings @ self.coef_.T + self.intercept_
        if len(self.classes_) == 2:
            logits = np.hstack([-logits, logits]) / 2  # whose softmax is the sigmoid
        powers = np.exp(logits - logits.max(1, keepdims=True))
        shares: Array = powers / powers.sum(1, keepdims=True)
        return shares


def save(folder: Path, name: str, encoder: SentenceModel, head: Regression, beside: dict[str, str]) -> None:
    """Write a trained sentence model and its head; the folder is there whole or not at all.

    Args:
        folder: Where; what is there is replaced.
        name: Of the classifier.
        encoder: The sentence model.
        head: Its head.
        beside: Name -> text of what lies beside them.

    Raises:
        MethodError: The folder cannot be written.
    """
    values = {part: np.asarray(getattr(head.model, part)) for part in ("coef_", "intercept_", "classes_")}
    try:
        with files.replacing_folder(folder) as temporary:
            encoder.save(temporary)
            save_file(values, temporary / HEAD)
            card = Card(
                classifier=name,
                num_classes=head.num_classes,
                fingerprint=sentence_model.fingerprint(temporary),
                head_sha256=weights.fingerprint([temporary / HEAD]),
            )
            for file, text in {CARD: seal.sealed(card.model_dump_json(indent=2)), **beside}.items():
                (temporary / file).write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise MethodError(f"cannot write '{folder}': {error}", hint="nothing half-written was left") from None


def load(folder: Path, device: torch.device) -> tuple[SentenceModel, Regression]:
    """Read a trained sentence model and its head.

    Raises:
        MethodError: A part is missing, damaged, or of another folder.
        ModelError: The sentence model cannot be loaded.
    """
    card = read(folder)
    try:
        if weights.fingerprint([folder / HEAD]) != card.head_sha256:
            raise MethodError(f"'{folder / HEAD}' is not the one that {CARD} names", hint=AGAIN)
        values = load_file(folder / HEAD)
        linear = Linear(values["coef_"], values["intercept_"], values["classes_"])
    except (OSError, SafetensorError, KeyError) as error:
        raise MethodError(f"'{folder / HEAD}' is missing or damaged: {error}", hint=AGAIN) from None
    encoder = sentence_model.load(folder, device)
    if encoder.fingerprint != card.fingerprint:
        raise MethodError(f"the sentence model in '{folder}' is not the one that {CARD} names", hint=AGAIN)
    return encoder, Regression(linear, card.num_classes)


def read(folder: Path) -> Card:
    """Read classifier.json.

    Raises:
        MethodError: It is missing or damaged.
    """
    return seal.read(folder / CARD, Card, MethodError, AGAIN)
