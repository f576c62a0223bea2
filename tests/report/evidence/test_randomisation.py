"""Differences of any metric, against examples repeated and swapped one by one, and against the tests of accuracy."""

import itertools

import numpy as np
import pytest

from peftbench import registry
from peftbench.report.evidence import randomisation, significance
from peftbench.report.evidence.randomisation import Predictions

METRICS = [pytest.param(registry.metric(name), id=name) for name in registry.METRICS]
ACCURACY = registry.metric("accuracy")


def two_sides(num_conditions=3, num_examples=12, size=3, seed=2, gain=0.0):
    """Predictions of A, right half the time, and of B, right `gain` more often; classes are unequal."""
    generator = np.random.default_rng(seed)
    shape = num_conditions, num_examples
    labels = np.tile(
        generator.choice(size, num_examples, p=np.arange(1, size + 1) / sum(range(size + 1))), (shape[0], 1)
    )
    sides = [
        np.where(generator.random(shape) < share, labels, generator.integers(size, size=shape))
        for share in (0.5, 0.5 + gain)
    ]
    return Predictions(*sides, labels)


def by_hand(metric, a, b, labels):
    """Mean over conditions of the metric of B minus that of A."""
    values = [
        metric.of(list(b[k]), list(labels[k])) - metric.of(list(a[k]), list(labels[k])) for k in range(len(labels))
    ]
    return sum(values) / len(values)


@pytest.mark.parametrize("metric", METRICS)
def test_weights_are_examples_that_are_repeated(metric):
    sides = two_sides()
    times = np.random.default_rng(0).multinomial(12, [1 / 12] * 12, size=20)
    for value, repeats in zip(randomisation.resampled(metric, sides, times), times, strict=True):
        rows = [example for example, number in enumerate(repeats) for _ in range(number)]
        assert value == pytest.approx(by_hand(metric, sides.a[:, rows], sides.b[:, rows], sides.labels[:, rows]))


@pytest.mark.parametrize("metric", METRICS)
def test_swaps_are_examples_whose_predictions_change_sides_under_all_conditions(metric):
    sides = two_sides()
    swaps = np.random.default_rng(0).integers(2, size=(20, 12))
    for value, swap in zip(randomisation.swapped(metric, sides, swaps), swaps, strict=True):
        a, b = sides.a.copy(), sides.b.copy()
        for example in np.flatnonzero(swap):
            a[:, example], b[:, example] = sides.b[:, example], sides.a[:, example]
        assert value == pytest.approx(by_hand(metric, a, b, sides.labels))


def test_all_swaps_of_an_accuracy_are_mcnemars_exact_test():
    sides = two_sides(num_conditions=1, gain=0.4)
    swaps = np.array(list(itertools.product((0, 1), repeat=12)))
    values = abs(randomisation.swapped(ACCURACY, sides, swaps))
    right_a, right_b = (side[0] == sides.labels[0] for side in (sides.a, sides.b))
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    exact = np.mean(values >= abs(only_b - only_a) / 12 - 1e-12)
    assert exact == pytest.approx(significance.mcnemar(only_a, only_b))
    assert 0 < exact < 1


@pytest.mark.parametrize("metric", METRICS)
def test_drawn_swaps_agree_with_all_swaps(metric):
    sides = two_sides(num_examples=11, gain=0.3)
    difference = by_hand(metric, sides.a, sides.b, sides.labels)
    every = abs(randomisation.swapped(metric, sides, np.array(list(itertools.product((0, 1), repeat=11)))))
    exact = np.mean(every >= abs(difference) - 1e-12)
    draws = randomisation.draw(metric, sides, "task")
    assert significance.p_value(difference, draws) == pytest.approx(exact, abs=0.015)
    assert 0.01 < exact < 0.99


def test_accuracy_by_its_counts_is_accuracy_by_its_sums():
    sides = two_sides(num_conditions=4, num_examples=150, gain=0.1)
    sums = ((sides.b == sides.labels).astype(int) - (sides.a == sides.labels)).sum(axis=0)
    quick, general = significance.draw(sums, 4, "task"), randomisation.draw(ACCURACY, sides, "task")
    difference = sums.mean() / 4
    scores_a, scores_b = randomisation.scores(ACCURACY, sides)
    assert (scores_b - scores_a).mean() == pytest.approx(difference)
    assert general.resampled.mean() == pytest.approx(quick.resampled.mean(), abs=0.002)
    assert general.resampled.std() == pytest.approx(quick.resampled.std(), rel=0.03)
    assert general.flipped.std() == pytest.approx(quick.flipped.std(), rel=0.03)
    assert significance.interval(general) == pytest.approx(significance.interval(quick), abs=0.004)
    p_values = [significance.p_value(difference, draws) for draws in (quick, general)]
    assert p_values[0] == pytest.approx(p_values[1], abs=0.01)


@pytest.mark.parametrize("metric", METRICS)
def test_where_sides_are_alike_one_in_twenty_is_called_different(metric):
    called = 0
    for seed in range(200):
        sides = two_sides(num_conditions=2, num_examples=40, seed=seed)
        difference = by_hand(metric, sides.a, sides.b, sides.labels)
        called += significance.p_value(difference, randomisation.draw(metric, sides, "t", num_draws=400)) < 0.05
    assert 0.015 <= called / 200 <= 0.09


def test_the_draws_of_a_task_are_the_same_each_time_and_its_own():
    sides = two_sides()
    first, again, other = (randomisation.draw(ACCURACY, sides, name, 50) for name in ("a", "a", "b"))
    assert np.array_equal(first.resampled, again.resampled)
    assert not np.array_equal(first.resampled, other.resampled)
    assert len(first.flipped) == 50


def fixed_sides(num=36):
    """Sides of which one always answers 0, on as many examples of either label."""
    labels = np.tile([0, 1], (1, num))
    b = np.where(np.random.default_rng(0).random(labels.shape) < 0.7, labels, 1 - labels)
    return Predictions(np.zeros_like(labels), b, labels)


def test_within_labels_accuracy_by_its_counts_is_accuracy_by_its_sums():
    sides = fixed_sides()
    labels = sides.labels[0]
    sums = ((sides.b == sides.labels).astype(int) - (sides.a == sides.labels)).sum(axis=0)
    quick = significance.draw(sums, 1, "task", labels=labels)
    general = randomisation.draw(ACCURACY, sides, "task", labels=labels)
    assert general.resampled.std() == pytest.approx(quick.resampled.std(), rel=0.03)
    assert general.flipped.std() == pytest.approx(quick.flipped.std(), rel=0.03)
    assert significance.interval(general) == pytest.approx(significance.interval(quick), abs=0.015)
    plain = randomisation.draw(ACCURACY, sides, "task")
    assert general.resampled.std() < 0.8 * plain.resampled.std()


def test_sides_that_answer_one_label_each_are_certain_not_to_differ_in_accuracy():
    labels = np.tile([0, 1], (1, 36))
    sides = Predictions(np.zeros_like(labels), np.ones_like(labels), labels)
    draws = randomisation.draw(ACCURACY, sides, "task", 500, labels[0])
    assert significance.interval(draws) == (0, 0)
    alike = Predictions(sides.a, sides.a, labels)
    assert significance.interval(randomisation.draw(ACCURACY, alike, "task", 500, labels[0])) is None
