import json
from itertools import product

import pytest
from rich.console import Console

from peftbench.report import compare_text
from peftbench.report.compare import compare
from peftbench.report.side import choose, read
from peftbench.report.units import points, probability
from tests.report.stored import stored

A, B = "icl@mini-gpt:32", "ia3@mini-gpt:32"


def compared(folder, a=A, b=B):
    kept = read([folder])
    return compare(choose(a, kept), choose(b, kept), kept)


def pair_of(folder, right_a, right_b, method="ia3", model="mini-gpt", **facts):
    return stored(folder, right_a, **facts), stored(folder, right_b, method, model, **facts)


def test_two_records_by_hand(tmp_path):
    # 20 examples: both right on 6, A alone on 1, B alone on 8, both wrong on 5
    a, b = [1] * 6 + [1] + [0] * 8 + [0] * 5, [1] * 6 + [0] + [1] * 8 + [0] * 5
    one, other = pair_of(tmp_path, {0: a}, {0: b})
    comparison = compared(tmp_path, one.id, other.id)
    line = comparison.overall
    assert (line.num_examples, line.num_a_ahead, line.num_b_ahead) == (20, 1, 8)
    assert (line.accuracy_a, line.accuracy_b, line.difference) == (7 / 20, 14 / 20, pytest.approx(7 / 20))
    assert line.test == "exact McNemar"
    assert line.p_value == line.p_corrected == pytest.approx(2 * (1 + 9) / 2**9)
    assert line.interval[0] < 7 / 20 < line.interval[1]
    assert comparison.mean is None
    assert comparison.verdict.startswith("Different on nli: B (ia3 on mini-gpt, 32 shots) is right more often than A (")
    assert "B minus A is +35.0 points" in comparison.verdict


def test_the_side_that_is_better_is_named_whichever_comes_first(tmp_path):
    pair_of(tmp_path, {0: [1] * 12}, {0: [0] * 12})
    assert "A (ICL on mini-gpt, 32 shots) is right more often than B" in compared(tmp_path).verdict
    assert "B (ICL on mini-gpt, 32 shots) is right more often than A" in compared(tmp_path, B, A).verdict


def test_what_is_not_shown_is_not_called_different(tmp_path):
    # 5 to 0: p = 2/32 = .0625
    pair_of(tmp_path, {0: [0] * 9}, {0: [1] * 5 + [0] * 4})
    comparison = compared(tmp_path)
    assert comparison.verdict.startswith("No difference shown on nli between A (")
    assert not comparison.overall.is_different
    assert "ifferent" not in comparison.verdict


def test_several_tasks_are_corrected_and_have_a_mean(tmp_path):
    # McNemar: 6 to 0 is .03125, corrected for two tasks .0625; 2 to 2 is 1
    for task, right_a, right_b in (("x", [0] * 6 + [1] * 2, [1] * 8), ("y", [1, 1, 0, 0], [0, 0, 1, 1])):
        pair_of(tmp_path, {0: right_a}, {0: right_b}, task=task, sha256=task * 64)
    comparison = compared(tmp_path)
    x, y = comparison.lines
    assert (x.p_value, x.p_corrected, x.is_different) == (pytest.approx(0.03125), pytest.approx(0.0625), False)
    assert (y.p_value, y.p_corrected) == (1, 1)
    mean = comparison.mean
    assert mean.difference == pytest.approx((6 / 8 + 0) / 2)
    assert (mean.accuracy_a, mean.accuracy_b) == (pytest.approx((2 / 8 + 1 / 2) / 2), pytest.approx((1 + 1 / 2) / 2))
    assert (mean.num_examples, mean.num_a_ahead, mean.num_b_ahead) == (12, 2, 8)
    assert mean.p_value == pytest.approx(exact_mean(), abs=0.01)
    assert "on the mean over 2 tasks" in comparison.verdict
    assert any("Holm 1979" in text for text in comparison.conventions)
    assert any("tasks kept fixed" in text for text in comparison.conventions)


def exact_mean():
    """Count flips of six differences of 1/8 and four of 1/4 whose sum is as large as the 6/8 that was seen."""
    sums = [sum(signs[:6]) / 8 + sum(signs[6:]) / 4 for signs in product((-1, 1), repeat=10)]
    return sum(abs(one) >= 6 / 8 for one in sums) / len(sums)


def test_an_example_with_its_templates_and_seeds_is_one_cluster(tmp_path):
    # B better on 4 of 12 examples under all four pairs: 16 answers, but 4 examples, and 2/16 is not below .05
    right_a, right_b = [0] * 12, [1] * 4 + [0] * 8
    for seed in (0, 1):
        pair_of(tmp_path, {0: right_a, 1: right_a}, {0: right_b, 1: right_b}, seed=seed)
    comparison = compared(tmp_path)
    assert comparison.overall.p_value == pytest.approx(2 / 16, abs=0.01)
    assert "48 answers of each side" in comparison.paired
    assert "12 examples of task nli, each under 2 templates and 2 seeds (0, 1)" in comparison.paired
    assert "seed by seed B minus A is +33.3 to +33.3 points: above 0 with 2 of 2 seeds" in comparison.findings[0]


def test_sides_that_always_agree_have_no_interval(tmp_path):
    pair_of(tmp_path, {0: [1, 0, 1]}, {0: [1, 0, 1]})
    comparison = compared(tmp_path)
    assert (comparison.overall.interval, comparison.overall.p_value) == (None, 1)
    assert any(text.startswith("interval n/a") for text in comparison.findings)


def test_other_models_are_said_and_the_same_model_is_proposed(tmp_path):
    pair_of(tmp_path, {0: [1, 0]}, {0: [1, 1]}, "ia3", "mini-t0")
    (text,) = [text for text in compared(tmp_path, A, "ia3@mini-t0").findings if "different models" in text]
    assert "mini-gpt 2.81M, mini-t0 3.69M" in text
    assert "`peftbench tune --model mini-gpt --method ia3 --shots 32 --task nli`" in text
    assert "`peftbench icl --model mini-t0 --shots 32 --task nli`" in text
    stored(tmp_path, {0: [1, 0]}, model="mini-t0")
    (text,) = [text for text in compared(tmp_path, A, "ia3@mini-t0").findings if "different models" in text]
    assert "`peftbench compare ia3@mini-t0:32 icl@mini-t0:32`" in text


def test_fewer_shots_than_asked_and_left_out_answers_are_said(tmp_path):
    stored(tmp_path, {0: [1, 0], 1: [1, 0]}, used=24)
    stored(tmp_path, {0: [1, 0]}, "ia3")
    findings = compared(tmp_path).findings
    assert "left out: nli: template 1: only A has it" in findings
    assert any("24 of 32 shots" in text for text in findings)


def test_zero_shot_sides_do_not_speak_of_seeds(tmp_path):
    for model in ("mini-t0", "mini-gpt"):
        stored(tmp_path, {0: [1, 0]}, model=model, shots=0)
    comparison = compared(tmp_path, "zero-shot@mini-t0", "zero-shot@mini-gpt")
    assert not any("seed" in text for text in comparison.findings)


def test_numbers_are_written_with_fixed_decimals_and_no_negative_zero():
    assert [probability(value) for value in (0.0312, 0.5, 0.00002)] == ["0.0312", "0.5000", "<0.0001"]
    assert [points(value) for value in (0.1234, -0.00001, -0.05)] == ["+12.3", "0.0", "-5.0"]


def test_the_text_fits_100_columns_and_needs_no_colour(tmp_path):
    for task in ("a-task-with-a-name-that-is-longer-than-any-table-has-room-for-and-goes-on", "y"):
        pair_of(tmp_path, {0: [0] * 40}, {0: [1] * 40}, task=task, sha256=task[0] * 64, num_examples=40)
    text = compare_text.terminal(compared(tmp_path), Console(width=100))
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    assert text.splitlines()[0] == "A: ICL on mini-gpt, 32 shots: icl@mini-gpt:32, 2 records"
    assert "only A" in text
    assert text.count("B better") == 3


def test_json_holds_what_the_text_says(tmp_path):
    for task in ("x", "y"):
        pair_of(tmp_path, {0: [0] * 40}, {0: [1] * 40}, task=task, sha256=task * 64)
    table = json.loads(json.dumps(compare_text.to_json(compared(tmp_path)), allow_nan=False))
    assert table["schema_version"] == 1
    assert table["mean"]["difference"] == 1
    assert table["mean"]["interval"] is None
    assert [line["task"] for line in table["tasks"]] == ["x", "y"]
    assert (table["correction"], table["is_different"]) == ("Holm", True)
    assert len(table["a"]["records"]) == 2
