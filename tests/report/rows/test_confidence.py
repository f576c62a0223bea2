import numpy as np
import pytest

from peftbench.report.rows import confidence
from peftbench.report.rows.table import build
from tests.report.stored import stored


def texts(answers):
    """(pairs, examples) of 0 and 1 -> what records hold."""
    return ["".join(map(str, row)) for row in answers]


def slow(answers, draws, generator):
    """The same, one draw after the other, straight from the definition."""
    answers = np.array(answers)
    num = answers.shape[1]
    return [np.median(answers[:, generator.integers(num, size=num)].mean(axis=1)) for _ in range(draws)]


@pytest.mark.parametrize("num_pairs", [1, 4, 5])
def test_draws_are_medians_over_templates_and_seeds_of_resampled_examples(num_pairs):
    generator = np.random.default_rng(1)
    answers = (generator.random((num_pairs, 60)) < np.linspace(0.3, 0.8, num_pairs)[:, None]).astype(int)
    ours, plain = confidence.medians(texts(answers), "task"), slow(answers, 1000, generator)
    assert ours.mean() == pytest.approx(np.mean(plain), abs=0.01)
    assert ours.std() == pytest.approx(np.std(plain), rel=0.15)


def test_templates_and_seeds_of_an_example_stay_together():
    # eight copies of one answer are one example: the standard error is sqrt(p (1 - p) / n)
    answers = texts([[1, 0] * 50] * 8)
    assert confidence.medians(answers, "task").std() == pytest.approx(0.5 / np.sqrt(100), rel=0.1)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    generator, hits = np.random.default_rng(0), 0
    shares = np.array([0.45, 0.6, 0.7])  # three templates, the median is .6
    for _ in range(300):
        easy = generator.random(80)
        answers = (0.5 * easy + 0.5 * generator.random((3, 80)) < shares[:, None]).astype(int)
        truth = 0.68  # P(.5 u + .5 v < .6) = 1 - 2 (1 - .6)^2
        low, high = confidence.interval([confidence.medians(texts(answers), "task")])
        hits += low <= truth <= high
    assert 0.9 <= hits / 300 <= 0.985


def test_the_mean_over_tasks_is_narrower_than_each():
    one, other = (confidence.medians(texts([[1, 0] * 40]), name) for name in ("a", "b"))
    widths = [high - low for low, high in (confidence.interval(some) for some in ([one], [other], [one, other]))]
    assert widths[2] == pytest.approx(widths[0] / np.sqrt(2), rel=0.15)


def test_rows_of_a_table_draw_the_same_examples_today_and_tomorrow():
    answers = texts([[1, 0, 1, 1, 0]])
    first, other = confidence.medians(answers, "task"), confidence.medians(answers, "other")
    confidence._times.cache_clear()
    assert np.array_equal(confidence.medians(answers, "task"), first)
    assert not np.array_equal(first, other)


def test_all_right_has_no_interval():
    assert confidence.interval([confidence.medians(["1111"], "task")]) is None


def test_a_row_has_an_interval_if_all_of_its_records_say_what_is_right(tmp_path):
    made = [stored(tmp_path, {0: [1, 0] * 20, 1: [1, 1, 0, 0] * 10}, seed=seed) for seed in (0, 1)]
    (table,) = build(made)
    low, high = table.rows[0].interval
    assert low < 0.5 < high
    assert next(iter(table.rows[0].spreads.values())).interval == (low, high)
    other = [stored(tmp_path, {0: [1] * 30 + [0] * 10}, task="b", sha256="e" * 64, seed=seed) for seed in (0, 1)]
    (row,) = build([*made, *other])[0].rows
    of_tasks = [confidence.drawn(spread.records) for spread in row.spreads.values()]
    assert row.interval == confidence.interval(of_tasks) != (low, high)
    old = made[0].model_copy(update={"results": [one.model_copy(update={"right": None}) for one in made[0].results]})
    assert build([old, made[1]])[0].rows[0].interval is None
