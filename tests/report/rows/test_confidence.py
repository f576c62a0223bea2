import numpy as np
import pytest

from peftbench import registry
from peftbench.report.rows import confidence
from peftbench.report.rows.table import build
from peftbench.store.record import WrittenResult
from peftbench.tasks import fixed
from tests.report.records import record, under
from tests.report.stored import stored


def texts(answers):
    """(pairs, examples) of 0 and 1 -> what records hold."""
    return ["".join(map(str, row)) for row in answers]


def interval(*values, is_certain=False):
    """The interval of the mean over tasks of what was drawn of each."""
    return confidence.interval([confidence.Draws(of_task, is_certain) for of_task in values])


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


def test_written_answers_are_drawn_as_accuracies_are_where_the_metric_is_a_mean():
    generator = np.random.default_rng(1)
    answers = generator.integers(2, size=(4, 60))
    written = [
        WrittenResult(
            value=row.mean(), scale=100, statistics=[[value, 1] for value in row], num_tokens=60, num_empty=0, num_cut=0
        )
        for row in answers
    ]
    ours = confidence.medians_of_written("exact_match", written, "task")
    assert ours == pytest.approx(confidence.medians(texts(answers), "task"), abs=1e-6)
    halves = [part.model_copy(update={"scale": 50.0}) for part in written]
    assert confidence.medians_of_written("exact_match", halves, "task") == pytest.approx(ours / 2)


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
        low, high = interval(confidence.medians(texts(answers), "task"))
        hits += low <= truth <= high
    assert 0.9 <= hits / 300 <= 0.985


def test_the_mean_over_tasks_is_narrower_than_each():
    one, other = (confidence.medians(texts([[1, 0] * 40]), name) for name in ("a", "b"))
    widths = [high - low for low, high in (interval(*some) for some in ([one], [other], [one, other]))]
    assert widths[2] == pytest.approx(widths[0] / np.sqrt(2), rel=0.15)


def test_rows_of_a_table_draw_the_same_examples_today_and_tomorrow():
    answers = texts([[1, 0, 1, 1, 0]])
    first, other = confidence.medians(answers, "task"), confidence.medians(answers, "other")
    confidence._times.cache_clear()
    assert np.array_equal(confidence.medians(answers, "task"), first)
    assert not np.array_equal(first, other)


def test_all_right_has_no_interval():
    assert interval(confidence.medians(["1111"], "task")) is None


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


def answered(num_pairs=3, num_examples=12, size=3, seed=4):
    """(pairs, examples) of predictions and of labels; no class is as frequent as another."""
    generator = np.random.default_rng(seed)
    labels = np.tile(generator.choice(size, num_examples, p=np.arange(1, size + 1) / 6), (num_pairs, 1))
    is_right = generator.random(labels.shape) < 0.6
    return np.where(is_right, labels, generator.integers(size, size=labels.shape)), labels


@pytest.mark.parametrize("name", registry.METRICS)
def test_draws_of_a_metric_are_its_values_over_repeated_examples(name):
    metric, (predictions, labels) = registry.metric(name), answered()
    ours = confidence.medians_of(metric, predictions, labels, "task")
    times = confidence._times(12, "task", None).astype(int)
    for draw in range(0, 1000, 25):
        repeated = [example for example in range(12) for _ in range(times[example, draw])]
        values = [
            metric.of(chosen[repeated], right[repeated]) for chosen, right in zip(predictions, labels, strict=True)
        ]
        assert ours[draw] == pytest.approx(np.median(values))


def test_draws_of_accuracy_are_those_of_right_and_wrong_answers():
    predictions, labels = answered(num_pairs=4, num_examples=50)
    general = confidence.medians_of(registry.metric("accuracy"), predictions, labels, "task")
    assert confidence.medians(texts((predictions == labels).astype(int)), "task") == pytest.approx(general, abs=1e-6)


def test_a_row_of_another_metric_has_the_interval_of_its_own_score():
    made = [under("macro_f1", record(seed=seed)) for seed in range(3)]
    (row,) = build(made)[0].rows
    assert row.interval[0] < row.score < row.interval[1]
    results = [result for one in made for result in one.results]
    answers = [[getattr(result, part) for result in results] for part in ("predictions", "labels")]
    draws = confidence.medians_of(registry.metric("macro_f1"), *answers, made[0].task.sha256)
    assert row.interval == interval(draws)
    assert row.interval != interval(confidence.medians([result.right for result in results], "s" * 64))


def test_the_interval_of_a_correlation_covers_the_truth_about_95_times_in_100():
    # labels and predictions are independently turned around from a hidden coin with 1/4: phi = (1 - 2/4)^2
    generator, hits = np.random.default_rng(0), 0
    for _ in range(200):
        hidden = generator.integers(2, size=100)
        labels, predictions = (hidden ^ (generator.random(100) < 0.25) for _ in range(2))
        draws = confidence.medians_of(registry.metric("matthews"), [predictions.astype(int)], [labels.astype(int)], "t")
        low, high = interval(draws)
        hits += low <= 0.25 <= high
    assert 0.9 <= hits / 200 <= 0.985


LABELS = [0, 1] * 60
WITHIN = " ".join(map(str, LABELS))


def balanced(right, **facts):
    """A record of a test set with as many rows of each label, by construction."""
    made = record(correct=(0,), num_examples=len(right), **facts)
    results = [made.results[0].model_copy(update={"right": right, "num_correct": {"token": right.count("1")}})]
    task = made.task.model_copy(update={"labels": WITHIN})
    return made.model_copy(update={"results": results, "task": task})


def test_within_labels_only_what_differs_within_a_label_is_drawn():
    # label 0: 48 of 60 right; label 1: 15 of 60. Var = (1/2)^2 (.8 .2 + .25 .75) / 60
    right = "".join("1" if row // 2 < (15 if row % 2 else 48) else "0" for row in range(120))
    deviations = [confidence.medians([right], "task", within).std() for within in (WITHIN, None)]
    assert deviations[0] == pytest.approx(0.5 * np.sqrt((0.8 * 0.2 + 0.25 * 0.75) / 60), rel=0.1)
    assert deviations[1] == pytest.approx(np.sqrt(0.525 * 0.475 / 120), rel=0.1)


@pytest.mark.parametrize("name", registry.METRICS)
def test_draws_of_a_metric_within_labels_have_as_many_of_each(name):
    predictions, labels = (np.array(rows) for rows in ([[0, 1, 1, 0, 1, 0] * 3] * 2, [[0, 1, 0, 1, 1, 0] * 3] * 2))
    within = " ".join(map(str, labels[0]))
    metric, times = registry.metric(name), confidence._times(18, "task", within).astype(int)
    ours = confidence.medians_of(metric, predictions, labels, "task", within)
    for draw in range(0, 1000, 50):
        repeated = [example for example in range(18) for _ in range(times[example, draw])]
        assert np.bincount(labels[0][repeated]).tolist() == [9, 9]
        assert ours[draw] == pytest.approx(metric.of(predictions[0][repeated], labels[0][repeated]))


def test_within_labels_the_interval_covers_the_truth_about_95_times_in_100_and_across_them_too_often():
    # right with .9 where the label is 0, with .3 where it is 1: .6 on a set with as many of each
    generator, hits = np.random.default_rng(0), [0, 0]
    shares = np.where(LABELS, 0.3, 0.9)
    for _ in range(200):
        right = texts([(generator.random(120) < shares).astype(int)])
        for place, within in enumerate((WITHIN, None)):
            low, high = interval(confidence.medians(right, "task", within))
            hits[place] += low <= 0.6 <= high
    assert 0.9 <= hits[0] / 200 <= 0.985
    assert hits[1] / 200 >= 0.985


def test_one_answer_to_all_rows_of_a_balanced_set_has_an_interval_without_width():
    (row,) = build([balanced("10" * 60, seed=0), balanced("01" * 60, seed=1)])[0].rows
    assert row.interval == (0.5, 0.5)
    assert next(iter(row.spreads.values())).is_stratified


def test_rows_that_are_all_right_show_nothing_in_a_balanced_set_either():
    (row,) = build([balanced("1" * 120)])[0].rows
    assert row.interval is None
    assert not next(iter(row.spreads.values())).is_stratified


def test_of_records_without_labels_those_beside_them_and_the_package_know_them():
    new, old = balanced("10" * 60, seed=0), balanced("01" * 60, seed=1)
    old = old.model_copy(update={"task": old.task.model_copy(update={"labels": None})})
    assert build([old, new])[0].rows[0].interval == (0.5, 0.5)
    low, high = build([old])[0].rows[0].interval
    assert low < 0.5 < high
    sha256, text = next(iter(fixed._table().items()))
    labels = text.split()
    of_lab = record(correct=(0,), num_examples=len(labels))
    right = "".join("01"[label == labels[0]] for label in labels)
    results = [of_lab.results[0].model_copy(update={"right": right})]
    task = of_lab.task.model_copy(update={"sha256": sha256})
    low, high = build([of_lab.model_copy(update={"results": results, "task": task})])[0].rows[0].interval
    assert low == high == right.count("1") / len(labels)


def test_a_part_of_the_test_rows_is_drawn_across_labels():
    made = balanced("10" * 60)
    part = made.model_copy(update={"task": made.task.model_copy(update={"labels": WITHIN + " 0 1"})})
    low, high = build([part])[0].rows[0].interval
    assert low < 0.5 < high
