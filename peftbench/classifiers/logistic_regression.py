r"""Logistic regression on frozen embeddings: the linear classifier that every tuned or prompted model should beat.

    p(c | x) = softmax_c(w_c e(x) + b_c)
    argmin_{w, b}  1/2 |w|^2 - C \sum_i log p(y_i | x_i)

e(x) has length 1 and is not standardised; C = 1 is scikit-learn's default. Both were fixed before any score was seen.
With two classes there is one w, and p is a sigmoid. Classes that no shot has get probability 0.

scikit-learn fits it, by L-BFGS.

Paper: Alain and Bengio, 1610.01644 (linear classifiers of frozen states).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from peftbench.classifiers.base import FLOAT32_BYTES, Array, Classifier, ClassifierConfig

PAPER = "1610.01644, section 3"
MAX_ITERATIONS = 10_000
"""Of L-BFGS, which is done after some dozens."""


class Config(ClassifierConfig):
    """Settings of logistic regression.

    Args:
        C: Weight of the shots' loss against that of the weights' squares.
    """

    C: float = Field(1.0, gt=0, le=1e6, allow_inf_nan=False)


@dataclass(frozen=True)
class Regression:
    """A fitted regression.

    Args:
        model: scikit-learn's object.
        num_classes: Of the task.
    """

    model: Any
    num_classes: int

    @property
    def num_bytes(self) -> int:
        """Bytes of weights and intercepts as float32."""
        return FLOAT32_BYTES * self.num_parameters

    @property
    def num_multiplied(self) -> int:
        """Count the weights."""
        return int(self.model.coef_.size)

    @property
    def num_parameters(self) -> int:
        """Count weights and intercepts."""
        return int(self.model.coef_.size + self.model.intercept_.size)

    def probabilities(self, embeddings: Array) -> Array:
        """Compute the probability of each class, (texts, classes) float64."""
        probabilities = np.zeros((len(embeddings), self.num_classes))
        probabilities[:, self.model.classes_] = self.model.predict_proba(embeddings.astype(np.float64))
        return probabilities


def fit(embeddings: Array, labels: Sequence[int], num_classes: int, config: Config) -> Regression:
    """Fit weights and intercepts to the shots."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=config.C, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():  # many classes of few shots look like a regression to it, and are none
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return Regression(model.fit(embeddings.astype(np.float64), np.array(labels)), num_classes)


CLASSIFIER = Classifier("logistic_regression", "scikit-learn", "baselines", True, Config, fit)
