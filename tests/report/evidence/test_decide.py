"""Verdicts: by hand where they are clear, and by simulation how often they are wrong."""

from dataclasses import replace

import numpy as np
import pytest

from peftbench.report.evidence import best_of, decide, lead
from peftbench.report.evidence.clusters import Clusters
from peftbench.report.evidence.decide import AS_GOOD
from tests.report.evidence.answered import answered, shares, table
from tests.report.evidence.simulated import right

LABELS = [0, 1] * 40


def pattern(both, first, second, num_rows=80):
    """Answers of two: right both, the first alone, the second alone, none."""
    ends = np.cumsum([both, first, second])
    places = np.arange(num_rows)
    return (places < ends[1]).astype(int), ((places < ends[0]) | ((ends[1] <= places) & (places < ends[2]))).astype(int)


def pair(both, first, second, num_rows=80, **facts):
    tuned, prompted = pattern(both, first, second, num_rows)
    return table(answered("ia3", tuned, **facts), answered("ICL", prompted, **facts))


@pytest.mark.parametrize(
    ("counts", "verdict"), [((40, 30, 2), "tune"), ((40, 2, 30), "prompt"), ((60, 6, 4), "either")], ids=str
)
def test_what_is_shown_to_be_more_accurate_is_the_verdict_whatever_it_costs(counts, verdict):
    for num_queries in (1, 10**6):
        assert decide.decide(pair(*counts), num_queries, LABELS).verdict == verdict


def test_nothing_better_than_the_most_frequent_label_is_neither():
    # Three of five rows have label 0, and the best is right on 50 of 80.
    labels = [int(place % 5 > 2) for place in range(80)]
    found = decide.decide(pair(30, 20, 0), 100, labels)
    assert (found.verdict, found.pick) == ("neither", None)
    assert (found.majority.label, found.majority.share, found.majority.is_by_row) == (0, 0.6, True)
    assert found.majority.lead.value == pytest.approx(2 / 80)
    assert found.majority.lead.num_more_rows > 5_000


def test_without_labels_by_row_their_counts_stand_in_and_without_any_nothing_does():
    counted = decide.decide(pair(40, 30, 2, labels=LABELS), 100)
    assert (counted.majority.share, counted.majority.is_by_row, counted.verdict) == (0.5, False, "tune")
    assert decide.decide(pair(40, 30, 2), 100).majority is None
    assert decide.decide(pair(45, 0, 0, labels=LABELS), 100).verdict == "neither"


def test_either_picks_what_is_cheaper_for_so_many_queries():
    # 50,000 / (1,000 - 10) = 50.5; cached (50,000 - 500) / (20 - 10) = 4,950
    found = decide.decide(pair(60, 6, 4), 50, LABELS)
    picks = {number: found.after(number).pick.row.method for number in (1, 50, 51, 10**6)}
    assert picks == {1: "ICL", 50: "ICL", 51: "ia3", 10**6: "ia3"}
    assert found.turns == (51, 4_950)
    assert (found.break_even.plain, found.break_even.cached) == found.turns
    assert [found.after(number).is_tuning_cheaper(cached=True) for number in (4_949, 4_950)] == [False, True]


def test_lines_that_cross_the_other_way_turn_there_too():
    dear = {"inference_flops_per_example": 30, "training_flops": 100}
    tuned, prompted = pattern(60, 6, 4)
    found = decide.decide(table(answered("ia3", tuned, prices=dear), answered("ICL", prompted)), 1, LABELS)
    # 100 + 30 n <= 500 + 20 n up to 40
    assert found.turns == (1, 41)
    assert [found.after(number).is_tuning_cheaper(cached=True) for number in (40, 41)] == [True, False]


def test_what_is_shown_to_be_as_good_goes_by_price():
    many = pair(1_990, 5, 5, num_rows=3_000)
    found = decide.decide(many, 10, [0, 1] * 1_500)
    assert max(map(abs, found.lead.interval)) < AS_GOOD
    assert [found.after(number).verdict for number in (50, 51)] == ["prompt", "tune"]
    assert not decide.decide(pair(60, 6, 4), 10, LABELS).is_as_good


def test_another_number_of_queries_changes_prices_and_no_evidence():
    built = shares(0.8, 0.75)
    asked, again = decide.decide(built, 7, LABELS), decide.decide(built, 7_000, LABELS).after(7)
    assert again.lead == asked.lead
    assert [choice.flops for choice in again.choices] == [choice.flops for choice in asked.choices]
    assert (again.verdict, again.tuned.choice, again.prompted.choice) == (
        asked.verdict, asked.tuned.choice, asked.prompted.choice,
    )  # fmt: skip


def test_with_one_side_alone_nothing_is_decided_but_its_best_is_picked():
    answers = right([0.9, 0.8], 80, np.random.default_rng(0))
    found = decide.decide(table(answered("ICL", answers[0]), answered("ICL", answers[1], shots=4)), 100, LABELS)
    assert (found.verdict, found.lead, found.tuned, found.break_even, found.turns) == ("either", None, None, None, ())
    assert found.pick is found.prompted
    assert found.pick.num_candidates == 2


def test_of_equals_the_cheapest_is_the_best():
    answers = np.array([1] * 60 + [0] * 20)
    dear = {"inference_flops_per_example": 9_000, "training_flops": 0}
    rows = [answered("ICL", answers), answered("ICL", answers, shots=4, prices=dear), answered("ia3", answers)]
    for records in (rows, rows[::-1]):
        assert decide.decide(table(*records), 100, LABELS).prompted.row.num_shots == 16


def test_the_order_of_records_changes_nothing():
    answers = right([0.8, 0.75, 0.7, 0.72], 80, np.random.default_rng(4))
    rows = [
        answered(method, line, shots=shots)
        for line, (method, shots) in zip(answers, [("ia3", 16), ("lora", 16), ("ICL", 4), ("ICL", 16)], strict=True)
    ]
    one, other = (decide.decide(table(*records), 100, LABELS) for records in (rows, rows[::-1]))
    assert (one.lead, one.majority, one.tuned.estimate) == (other.lead, other.majority, other.tuned.estimate)


def test_prices_that_are_not_known_pick_the_prompt():
    tuned, prompted = pattern(60, 6, 4)
    built = table(answered("ia3", tuned, prices={"training_flops": 9}), answered("ICL", prompted))
    found = decide.decide(built, 10**6, LABELS)
    assert (found.pick.row.method, found.turns, found.break_even) == ("ICL", (), None)


def verdicts(tuned, prompted, num_rows, num_times, monkeypatch):
    """How often each verdict comes out of new rows; as `decide` does, without its tables."""
    monkeypatch.setattr(best_of.best_of, "__defaults__", (0.025, 300))
    rng, clusters, counts = np.random.default_rng(num_rows), Clusters.of(range(num_rows)), {}
    labels = (np.arange(num_rows) % 4 == 0).astype(float)
    template = decide.decide(shares(0.8, 0.75), 1, LABELS)
    for time in range(num_times):
        answers = right([*tuned, *prompted], num_rows, rng)
        sides = answers[: len(tuned)], answers[len(tuned) :]
        majority = replace(template.majority, lead=lead.over(answers, labels, clusters, str(time)))
        between = lead.between(*sides, clusters, str(time))
        verdict = decide._verdict(replace(template, lead=between, majority=majority))
        counts[verdict] = counts.get(verdict, 0) + 1 / num_times
    return counts


@pytest.mark.parametrize("sides", [([0.8] * 4, [0.8] * 4), ([0.8], [0.8] * 7), ([0.6] * 3 + [0.8], [0.8])], ids=str)
def test_equals_are_rarely_told_apart(sides, monkeypatch):
    counts = verdicts(*sides, 60, 150, monkeypatch)
    assert counts.get("tune", 0) + counts.get("prompt", 0) <= 0.05


@pytest.mark.parametrize("sides", [([0.9, 0.8, 0.7], [0.75, 0.7, 0.6]), ([0.82, 0.7], [0.8, 0.75])], ids=str)
def test_the_verdict_is_the_true_one_or_none(sides, monkeypatch):
    for num_rows in (40, 160):
        counts = verdicts(*sides, num_rows, 60, monkeypatch)
        assert counts.get("prompt", 0) <= 0.2
    if sides[0][0] > 0.85:
        assert counts["tune"] > 0.8
