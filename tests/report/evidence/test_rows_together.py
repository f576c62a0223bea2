"""Rows of one text or of one group count as one: in intervals, and in tests of differences."""

import numpy as np
import pytest

from peftbench import registry
from peftbench.report.evidence import randomisation, significance
from peftbench.report.evidence.compare import compare
from peftbench.report.evidence.randomisation import Predictions
from peftbench.report.formats import compare_text
from peftbench.report.notes import caveats
from peftbench.report.notes.document import compose
from peftbench.report.rows import confidence, strata
from peftbench.report.rows.select import choose, read
from peftbench.report.rows.table import build
from tests.report.stored import folded

TWICE = np.repeat(np.arange(30), 2)
TEXT = " ".join(map(str, TWICE))


def texts(answers):
    return ["".join(map(str, row)) for row in np.atleast_2d(answers).astype(int)]


def answered(size=30, pairs=3, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.tile(generator.integers(3, size=size), (pairs, 1))
    a, b = (
        np.where(generator.random(labels.shape) < share, labels, generator.integers(3, size=labels.shape))
        for share in (0.3, 0.7)
    )
    return Predictions(a, b, labels)


def repeated(predictions):
    return Predictions(*(np.repeat(part, 2, axis=1) for part in (predictions.a, predictions.b, predictions.labels)))


def test_rows_that_stand_twice_give_the_interval_of_rows_that_stand_once():
    right = np.random.default_rng(1).random((3, 30)) < 0.6
    once = confidence.medians(texts(right), "task")
    assert confidence.medians(texts(np.repeat(right, 2, axis=1)), "task", None, TEXT) == pytest.approx(once, abs=1e-6)
    apart = confidence.medians(texts(np.repeat(right, 2, axis=1)), "task")
    assert apart.std() == pytest.approx(once.std() / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("name", registry.METRICS)
def test_the_same_of_any_metric(name):
    metric, once = registry.metric(name), answered()
    twice = repeated(once)
    assert confidence.medians_of(metric, twice.a, twice.labels, "task", None, TEXT) == pytest.approx(
        confidence.medians_of(metric, once.a, once.labels, "task"), abs=1e-9
    )


def test_rows_that_stand_twice_give_the_test_of_rows_that_stand_once():
    sums = np.random.default_rng(2).integers(-2, 4, size=30)
    once = significance.draw(sums, 3, "task")
    twice = significance.draw(np.repeat(sums, 2), 3, "task", clusters=TWICE)
    for name in ("resampled", "flipped"):
        assert getattr(twice, name) == pytest.approx(getattr(once, name), abs=1e-12)
    back = significance.draw(-np.repeat(sums, 2), 3, "task", clusters=TWICE)
    assert back.resampled == pytest.approx(-twice.resampled)
    assert back.flipped == pytest.approx(-twice.flipped)


@pytest.mark.parametrize("name", ["macro_f1", "matthews"])
def test_the_same_of_approximate_randomisation(name):
    metric, once = registry.metric(name), answered()
    draws = randomisation.draw(metric, once, "task", 500)
    twice = randomisation.draw(metric, repeated(once), "task", 500, clusters=TWICE)
    for part in ("resampled", "flipped"):
        assert getattr(twice, part) == pytest.approx(getattr(draws, part), abs=1e-9)


def test_draws_of_clusters_of_unequal_size_are_shares_of_what_was_drawn():
    clusters = np.array([0, 0, 0, 1, 2, 2])
    right = np.array([1, 1, 0, 1, 0, 0])
    times = strata.times(np.random.default_rng(0), 200, clusters)
    assert {tuple(row[[0, 3, 4]]) for row in times} == {
        (a, b, 3 - a - b) for a in range(4) for b in range(4 - a)
    }  # three clusters are drawn, whole
    assert (times[:, 0] == times[:, 2]).all()
    drawn = confidence.medians(texts(right), "task", None, "0 0 0 1 2 2")
    times = confidence._times(6, "task", None, "0 0 0 1 2 2")
    assert drawn == pytest.approx(right @ times / times.sum(axis=0), abs=1e-6)
    sums, sizes = np.array([2, 1, 0]), np.array([3, 1, 2])
    values = {round(float(value), 9) for value in significance._of_clusters(np.random.default_rng(0), sums, sizes, 500)}
    possible = {
        round(float(n @ sums / (n @ sizes)), 9)
        for n in (np.array([a, b, 3 - a - b]) for a in range(4) for b in range(4 - a))
    }
    assert values == possible


def rates(clusters, num_tries=150):
    """How often a difference that is none is shown, and how often the interval has the truth, 0.6 and 0."""
    generator = np.random.default_rng(3)
    size, together = 1 + clusters.max(), None if len(set(clusters)) == len(clusters) else clusters
    alarms = covered = 0
    for _ in range(num_tries):
        a, b = ((generator.random(size) < 0.6)[clusters].astype(int) for _ in range(2))
        draws = significance.draw(b - a, 1, "task", 400, clusters=together)
        alarms += significance.p_value((b - a).mean(), draws) < 0.05
        text = None if together is None else " ".join(map(str, clusters))
        low, high = confidence.interval([confidence.Draws(confidence.medians(texts(a), "task", None, text))])
        covered += low <= 0.6 <= high
    return alarms / num_tries, covered / num_tries


def test_with_groups_of_four_alarms_are_as_rare_and_intervals_as_wide_as_they_say():
    groups = np.repeat(np.arange(40), 4)
    alarms, covered = rates(groups)
    assert alarms <= 0.09
    assert covered >= 0.88


def test_without_them_they_would_not_be():
    generator, groups = np.random.default_rng(3), np.repeat(np.arange(40), 4)
    p_values = []
    for _ in range(100):
        a, b = ((generator.random(40) < 0.6)[groups].astype(int) for _ in range(2))
        p_values.append(significance.p_value((b - a).mean(), significance.draw(b - a, 1, "task", 400)))
    assert np.mean(np.array(p_values) < 0.05) > 0.2


def clustered(root, right, clusters, *learner, **facts):
    """Joined folds of rows in clusters."""
    from peftbench.store.results import Store
    from tests.report.stored import scores

    made = folded(root, right, 2, *learner, **facts)
    for record in made:
        index = record.identity["fold"]["index"]
        task = record.task.model_copy(update={"clusters": clusters})
        table = scores({t: {r: v for r, v in enumerate(rows) if r % 2 == index} for t, rows in right.items()})
        Store(root).write(record.model_copy(update={"task": task}), table)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_report_and_a_comparison_take_the_clusters_of_the_records(metric, tmp_path):
    right = [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 1]
    other = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    clusters = "0 0 1 1 2 2 3 3 4 4 5 6"
    clustered(tmp_path, {0: right}, clusters, metric=metric)
    clustered(tmp_path, {0: other}, clusters, "ia3", "mini-t0", metric=metric)
    all_stored = read([tmp_path])
    comparison = compare(*(choose(word, all_stored) for word in ("icl@mini-gpt", "ia3@mini-t0")))
    (line,) = comparison.lines
    assert (line.num_examples, comparison.pairs[0].num_clusters) == (12, 7)
    assert line.test != significance.MCNEMAR
    assert line.p_value > 0.1  # two clusters gained two rows each: one in four, or more
    said = [*caveats.findings(comparison), *caveats.conventions(comparison)]
    assert "interval and p: rows of one text, or of one group, are drawn and change sides together" in said
    assert compare_text.to_json(comparison, said)["tasks"][0]["num_examples"] == 12
    document = compose([stored.record for stored in all_stored])
    (note,) = [text for text in document.conventions if "are drawn together" in text]
    assert note.endswith("(such clusters, of any size: nli 7)")
    assert any("a little too narrow below 30 examples (nli 7)" in text for text in document.conventions)
    row = next(row for row in build([stored.record for stored in all_stored])[0].rows if row.method == "ICL")
    assert row.interval == confidence.interval([confidence.drawn(row.records)])
    if metric == "accuracy":
        draws = confidence.medians(texts(right), "d" * 64, None, clusters)
        assert row.interval == confidence.interval([confidence.Draws(draws)])
