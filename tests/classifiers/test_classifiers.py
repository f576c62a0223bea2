"""Classifiers of embeddings, against scikit-learn's on the same numbers and against votes counted by hand."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from peftbench import registry


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def drawn(num_rows, seed, num_classes=3):
    generator = np.random.default_rng(seed)
    labels = np.arange(num_rows) % num_classes
    return unit(generator.normal(size=(num_rows, 6)) + np.eye(6)[labels]), labels


def fitted(name, embeddings, labels, num_classes=3, **settings):
    classifier = registry.classifier(name)
    return classifier.fit(embeddings, list(labels), num_classes, classifier.Config(**settings))


@pytest.mark.parametrize("k", [1, 4, 5])
def test_nearest_neighbours_are_scikit_learns(k):
    (shots, labels), (queries, _) = drawn(24, 0), drawn(50, 1)
    reference = KNeighborsClassifier(n_neighbors=k, metric="cosine").fit(shots, labels)
    found = fitted("knn", shots, labels, k=k).probabilities(queries)
    assert found == pytest.approx(reference.predict_proba(queries))
    assert (found.argmax(1) == reference.predict(queries)).all()


@pytest.mark.parametrize("settings", [{}, {"C": 10.0}])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_logistic_regression_is_scikit_learns(settings, num_classes):
    (shots, labels), (queries, _) = drawn(24, 2, num_classes), drawn(50, 3)
    reference = LogisticRegression(C=settings.get("C", 1.0)).fit(shots, labels)
    regression = fitted("logistic_regression", shots, labels, num_classes, **settings)
    assert regression.probabilities(queries) == pytest.approx(reference.predict_proba(queries), abs=1e-3)
    rows = 1 if num_classes == 2 else 3
    assert (regression.num_parameters, regression.num_multiplied, regression.num_bytes) == (
        7 * rows,
        6 * rows,
        28 * rows,
    )


def test_logistic_regression_solves_its_equation():
    """At the optimum w = C sum_i (y_i - p_i) x_i, and the residuals add up to nothing."""
    shots, labels = drawn(20, 4, 2)
    regression = fitted("logistic_regression", shots, labels, 2, C=2.0)
    residuals = labels - regression.probabilities(shots)[:, 1]
    assert regression.model.coef_[0] == pytest.approx(2.0 * residuals @ shots, abs=1e-2)
    assert sum(residuals) == pytest.approx(0, abs=1e-2)


def test_votes_by_hand():
    shots = unit([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [-1, 0]])
    neighbours = fitted("knn", shots, [0, 1, 2, 2, 1], k=3)
    assert neighbours.probabilities(unit([[1, 0.05], [0, 2]])) == pytest.approx(np.array([[1, 1, 1], [0, 1, 2]]) / 3)
    assert (neighbours.num_bytes, neighbours.num_multiplied) == (5 * 2 * 4 + 5 * 4, 10)
    few = fitted("knn", shots[:2], [0, 1], k=5)
    assert few.probabilities(unit([[0, 1]])) == pytest.approx(np.array([[0.5, 0.5, 0]]))


def test_a_class_that_no_shot_has_is_no_answer():
    shots, labels = drawn(12, 5, 2)
    found = fitted("logistic_regression", shots, 2 * labels, 4).probabilities(shots)
    assert (found[:, [1, 3]] == 0).all()
    assert found.sum(1) == pytest.approx(np.ones(12))
