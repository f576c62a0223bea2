import itertools

import numpy as np
import pytest

from peftbench.report.evidence import significance


def test_mcnemar_by_hand():
    # 9 examples decide, 1 of them for A: 2 * (C(9,0) + C(9,1)) / 2^9
    assert significance.mcnemar(1, 8) == pytest.approx(2 * (1 + 9) / 512)
    assert significance.mcnemar(8, 1) == significance.mcnemar(1, 8)
    assert significance.mcnemar(0, 6) == pytest.approx(2 / 64)


def test_mcnemar_of_a_tie_and_of_nothing_is_one():
    assert significance.mcnemar(5, 5) == 1
    assert significance.mcnemar(0, 0) == 1


def exact(sums):
    """All sign flips, one by one."""
    means = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=len(sums))]
    return np.mean([mean >= abs(sum(sums)) for mean in means])


@pytest.mark.parametrize("sums", [[3, 1, -1, 2, 4], [4, 4, 4, 4, 4, 4], [1, -2, 0, 0, 3, -3, 2, 2]])
def test_sign_flips_agree_with_all_flips_one_by_one(sums):
    draws = significance.draw(np.array(sums), 4, "task")
    assert significance.p_value(np.mean(sums) / 4, draws) == pytest.approx(exact(sums), abs=0.015)


def test_sign_flips_of_single_answers_are_mcnemar():
    sums = np.array([1] * 14 + [-1] * 4 + [0] * 30)
    draws = significance.draw(sums, 1, "task")
    assert significance.p_value(sums.mean(), draws) == pytest.approx(significance.mcnemar(4, 14), abs=0.006)


def test_a_p_value_is_never_zero():
    draws = significance.draw(np.ones(200, int), 1, "task")
    assert significance.p_value(1.0, draws) == pytest.approx(1 / 10_001)


def test_holm_by_hand():
    # ordered: .005 x 4, .01 x 3, .03 x 2, .04 x 1 but never below the one before
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([0.6, 0.7]) == [1.0, 1.0]


def test_resampling_spreads_as_the_standard_error_says():
    sums = np.random.default_rng(1).integers(-4, 5, size=150)
    draws = significance.draw(sums, 4, "task")
    assert draws.resampled.mean() == pytest.approx(sums.mean() / 4, abs=0.002)
    assert draws.resampled.std() == pytest.approx((sums / 4).std() / np.sqrt(150), rel=0.03)
    assert draws.flipped.std() == pytest.approx(np.sqrt(np.mean((sums / 4) ** 2) / 150), rel=0.03)


def simulated(generator, num_examples=60, num_pairs=6):
    """Differences of B, right 0.1 more often, from A; an example is easy or hard for a side under all pairs."""
    a, b = (
        np.where(
            generator.random((num_examples, 1)) < 0.8,
            generator.random((num_examples, 1)) < share,
            generator.random((num_examples, num_pairs)) < share,
        )
        for share in (0.5, 0.6)
    )
    return b.astype(int) - a.astype(int)


def coverage(tables, num_pairs):
    found = [significance.interval(significance.draw(one, num_pairs, "task", 1000)) for one in tables]
    return np.mean([low <= 0.1 <= high for low, high in found])


def test_the_interval_covers_the_truth_95_times_in_100_and_pairs_taken_for_examples_do_not():
    generator = np.random.default_rng(0)
    tables = [simulated(generator) for _ in range(400)]
    assert 0.92 <= coverage([table.sum(axis=1) for table in tables], 6) <= 0.98
    assert coverage([table.ravel() for table in tables], 1) < 0.75


def test_equal_sides_are_called_different_5_times_in_100():
    generator = np.random.default_rng(0)
    null = [generator.choice([-3, -1, 0, 1, 3], size=40) for _ in range(400)]
    values = [significance.p_value(one.mean() / 3, significance.draw(one, 3, "task", 1000)) for one in null]
    assert 0.02 <= np.mean([value < 0.05 for value in values]) <= 0.08


def test_b_against_a_mirrors_a_against_b():
    sums = np.array([3, 1, -1, 2, 4, 0, 0])
    forth, back = (significance.draw(sign * sums, 4, "task") for sign in (1, -1))
    assert np.array_equal(forth.resampled, -back.resampled)
    assert significance.p_value(9 / 28, forth) == significance.p_value(-9 / 28, back)


def test_without_any_spread_there_is_no_interval():
    assert significance.interval(significance.draw(np.zeros(20, int), 2, "task")) is None


def test_the_mean_over_tasks_keeps_them_fixed():
    tasks = [significance.draw(np.full(20, value), 1, "task") for value in (1, 0)]
    low, high = np.quantile(significance.mean(tasks).resampled, (0, 1))
    assert (low, high) == (0.5, 0.5)


LABELS = np.repeat([0, 1], 30)


def test_groups_change_signs_together_as_all_their_flips_say():
    # 30 groups of which all but 10 are at 0: 2^10 flips of those
    sums = np.zeros(60, int)
    sums[:10], sums[30:40] = [3, 2, 2, 1, 3, 1, 2, 0, 1, 2], [-1, -2, -3, 1, 0, -1, -3, 1, 1, -1]
    groups = sums[:30] + sums[30:]
    draws = significance.draw(sums, 3, "task", labels=LABELS)
    assert significance.p_value(sums.mean() / 3, draws) == pytest.approx(exact(groups[:10]), abs=0.015)
    assert 0.01 < exact(groups[:10]) < 0.2


def test_two_sides_that_answer_one_label_each_do_not_differ_and_that_is_certain():
    sums = np.where(LABELS, 1, -1)
    draws = significance.draw(sums, 1, "task", labels=LABELS)
    assert significance.interval(draws) == (0, 0)
    assert significance.p_value(0.0, draws) == 1
    assert significance.interval(significance.draw(0 * sums, 1, "task", labels=LABELS)) is None


def by_label(generator, shares, num=75):
    """Differences of B, right with these chances by label, from A, which always answers label 0; K = 1."""
    labels = np.tile([0, 1], num)
    b = generator.random(2 * num) < np.array(shares)[labels]
    return b.astype(int) - (labels == 0), labels


def test_within_labels_the_interval_of_a_difference_covers_the_truth_95_times_in_100():
    # A is right on half; B on (.9 + .3) / 2 = .6
    generator, hits = np.random.default_rng(0), [0, 0]
    for _ in range(200):
        sums, labels = by_label(generator, (0.9, 0.3))
        for place, within in enumerate((labels, None)):
            low, high = significance.interval(significance.draw(sums, 1, "task", 1000, within))
            hits[place] += low <= 0.1 <= high
    assert 0.9 <= hits[0] / 200 <= 0.985
    assert hits[1] / 200 >= 0.985


def called(generator, shares, within, num=400):
    """How often the sides are called different."""
    values = []
    for _ in range(num):
        sums, labels = by_label(generator, shares)
        draws = significance.draw(sums, 1, "task", 500, labels if within else None)
        values.append(significance.p_value(sums.mean(), draws) < 0.05)
    return np.mean(values)


def test_equal_accuracies_by_other_labels_are_called_different_5_times_in_100_and_row_by_row_never():
    generator = np.random.default_rng(0)
    assert 0.02 <= called(generator, (0.3, 0.7), within=True) <= 0.08
    assert called(generator, (0.3, 0.7), within=False) < 0.01


def test_groups_are_as_exact_as_single_examples_where_it_makes_no_difference_which_side_is_which():
    generator, labels = np.random.default_rng(0), np.tile([0, 1], 75)
    null = [generator.choice([-1, 0, 1], size=150) * np.where(labels, 3, 1) for _ in range(400)]
    values = [significance.p_value(one.mean(), significance.draw(one, 1, "task", 500, labels)) for one in null]
    assert 0.02 <= np.mean([value < 0.05 for value in values]) <= 0.08


def test_b_against_a_mirrors_a_against_b_within_labels():
    sums, labels = by_label(np.random.default_rng(0), (0.9, 0.3))
    forth, back = (significance.draw(sign * sums, 1, "task", labels=labels) for sign in (1, -1))
    assert np.array_equal(forth.resampled, -back.resampled)
    assert np.array_equal(forth.flipped, -back.flipped)
