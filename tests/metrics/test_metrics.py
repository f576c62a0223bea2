"""Every metric of the registry against hand arithmetic, brute force, and what weights must do."""

import random
import statistics

import numpy as np
import pytest

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.metrics.base import confusion

PREDICTIONS = [0, 0, 1, 2, 2, 1, 0, 2, 2, 0]
LABELS = [0, 1, 1, 2, 0, 1, 0, 2, 1, 0]


def drawn(seed, count=200, size=3):
    rng = random.Random(seed)
    labels = [rng.choices(range(size), weights=range(1, size + 1))[0] for _ in range(count)]
    return [label if rng.random() < 0.6 else rng.randrange(size) for label in labels], labels


def test_values_by_hand():
    """Confusion, labelled by predicted: 3 0 1 / 1 2 1 / 0 0 2."""
    assert registry.metric("accuracy").of(PREDICTIONS, LABELS) == pytest.approx(7 / 10)
    f1 = [2 * 3 / (4 + 4), 2 * 2 / (2 + 4), 2 * 2 / (4 + 2)]
    assert registry.metric("macro_f1").of(PREDICTIONS, LABELS) == pytest.approx(sum(f1) / 3)
    covariance = 10 * 7 - (4 * 4 + 2 * 4 + 4 * 2)
    variances = (100 - (16 + 4 + 16)) * (100 - (16 + 16 + 4))
    assert registry.metric("matthews").of(PREDICTIONS, LABELS) == pytest.approx(covariance / variances**0.5)


@pytest.mark.parametrize("seed", range(5))
def test_matthews_of_two_classes_is_pearsons_correlation(seed):
    predictions, labels = drawn(seed, size=2)
    expected = statistics.correlation(predictions, labels)
    assert registry.metric("matthews").of(predictions, labels) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_the_mean_of_harmonic_means_of_precision_and_recall(seed):
    predictions, labels = drawn(seed, size=4)
    f1 = []
    for label in range(4):
        right = sum(p == t == label for p, t in zip(predictions, labels, strict=True))
        precision, recall = right / predictions.count(label), right / labels.count(label)
        f1.append(statistics.harmonic_mean([precision, recall]))
    assert registry.metric("macro_f1").of(predictions, labels) == pytest.approx(statistics.fmean(f1))


def test_a_class_that_is_neither_labelled_nor_predicted_does_not_count_and_one_that_is_never_right_does():
    macro_f1 = registry.metric("macro_f1")
    assert macro_f1.of([0, 2], [0, 2]) == 1
    assert macro_f1.of([0, 0, 0], [0, 0, 1]) == pytest.approx((2 * 2 / 5 + 0) / 2)


@pytest.mark.parametrize("num_labelled", [(125, 85, 40), (1, 0, 7), (3, 3), (0, 4), (5,)])
def test_always_the_most_frequent_answer_scores_as_scikit_learn_says(num_labelled):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    labels = [label for label, number in enumerate(num_labelled) for _ in range(number)]
    often = [num_labelled.index(max(num_labelled))] * len(labels)
    theirs = {
        "accuracy": sklearn.accuracy_score(labels, often),
        "macro_f1": sklearn.f1_score(labels, often, average="macro", zero_division=0),
        "matthews": sklearn.matthews_corrcoef(labels, often) if len(set(labels)) > 1 else 0.0,
    }
    ours = {name: registry.metric(name).of_majority(num_labelled) for name in registry.METRICS}
    assert ours == pytest.approx(theirs)


def test_one_class_for_everything_has_no_correlation():
    assert registry.metric("matthews").of([1, 1, 1], [0, 1, 1]) == 0


@pytest.mark.parametrize("name", registry.METRICS)
def test_weights_are_the_times_that_an_example_stands_in_a_sample(name):
    metric, (predictions, labels) = registry.metric(name), drawn(1, count=60)
    weights = np.random.default_rng(0).multinomial(60, [1 / 60] * 60, size=8)
    found = metric.value(confusion(np.array(predictions), np.array(labels), weights))
    for sample, value in zip(weights, found, strict=True):
        repeated = [index for index, times in enumerate(sample) for _ in range(times)]
        expected = metric.of([predictions[index] for index in repeated], [labels[index] for index in repeated])
        assert value == pytest.approx(expected)


@pytest.mark.parametrize("name", registry.METRICS)
@pytest.mark.parametrize("size", [2, 3])
def test_chance_is_what_many_guesses_come_to(name, size):
    metric, rng = registry.metric(name), random.Random(3)
    _, labels = drawn(2, count=40_000, size=size)
    guesses = [rng.randrange(size) for _ in labels]
    assert metric.of(guesses, labels) == pytest.approx(metric.chance(labels, [size] * len(labels)), abs=0.01)


@pytest.mark.parametrize("name", registry.METRICS)
def test_the_best_predictions_have_the_best_value(name):
    metric, (predictions, labels) = registry.metric(name), drawn(4)
    assert metric.of(labels, labels) == 1
    assert (metric.of(labels, labels) > metric.of(predictions, labels)) == metric.higher_is_better


def test_a_metric_that_is_none_is_met_with_the_nearest_one():
    with pytest.raises(TaskError, match="unknown metric 'macro-f1'") as caught:
        registry.metric("macro-f1")
    assert "did you mean 'macro_f1'?" in str(caught.value.hint)
