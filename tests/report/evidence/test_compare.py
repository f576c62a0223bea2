import json
import re
from itertools import product

import numpy as np
import pytest
from rich.console import Console

from peftbench import registry
from peftbench.errors import RecordError
from peftbench.report.evidence import significance
from peftbench.report.evidence.compare import compare
from peftbench.report.formats import compare_text
from peftbench.report.formats.compare_text import verdict
from peftbench.report.notes import caveats
from peftbench.report.rows.select import choose, read
from peftbench.report.rows.units import points, probability
from peftbench.store.seal import sealed
from tests.report.stored import stored

A, B = "icl@mini-gpt:32", "ia3@mini-gpt:32"


def compared(folder, a=A, b=B):
    every = read([folder])
    return compare(choose(a, every), choose(b, every))


def findings_of(folder, a=A, b=B):
    return caveats.findings(compared(folder, a, b), read([folder]))


def pair_of(folder, right_a, right_b, method="ia3", model="mini-gpt", **facts):
    return stored(folder, right_a, **facts), stored(folder, right_b, method, model, **facts)


def drawn(comparison):
    return compare_text.terminal(comparison, caveats.findings(comparison), Console(width=100))


def two_by_two(folder, both, only_a, only_b, neither):
    """Two records with so many examples in each place of the table."""
    a = [1] * both + [1] * only_a + [0] * only_b + [0] * neither
    b = [1] * both + [0] * only_a + [1] * only_b + [0] * neither
    one, other = pair_of(folder, {0: a}, {0: b})
    return compared(folder, one.id, other.id)


def plain(sentence):
    """The sentence, with the ends of its interval taken out: they are drawn."""
    return re.sub(r"interval [+-]?\d+\.\d to [+-]?\d+\.\d", "interval", sentence)


def test_a_pair_that_differs_by_hand(tmp_path):
    #             B right  B wrong      9 examples decide. If a coin did, 1 or fewer would go to A with probability
    #   A right      6        1         (C(9,0) + C(9,1)) / 2^9 = 10 / 512; either side so few: 20 / 512 = 0.0390625
    #   A wrong      8        5
    comparison = two_by_two(tmp_path, both=6, only_a=1, only_b=8, neither=5)
    assert (comparison.overall.test, comparison.overall.p_value) == ("exact McNemar", 0.0390625)
    assert plain(verdict(comparison)) == (
        "Different on nli: B (ia3 on mini-gpt, 32 shots) is right more often than A (ICL on mini-gpt, 32 shots): "
        "B minus A is +35.0 points (95 % interval, p = 0.0391)."
    )


def test_a_pair_that_does_not_differ_by_hand(tmp_path):
    #             B right  B wrong      10 examples decide. 2 or fewer of them go to A with probability
    #   A right      6        2         (C(10,0) + C(10,1) + C(10,2)) / 2^10 = (1 + 10 + 45) / 1024; twice: 0.109375
    #   A wrong      8        4
    comparison = two_by_two(tmp_path, both=6, only_a=2, only_b=8, neither=4)
    assert (comparison.overall.test, comparison.overall.p_value) == ("exact McNemar", 0.109375)
    assert plain(verdict(comparison)) == (
        "No difference shown on nli between A (ICL on mini-gpt, 32 shots) and B (ia3 on mini-gpt, 32 shots): "
        "B minus A is +30.0 points (95 % interval, p = 0.1094)."
    )


def test_two_records_by_hand(tmp_path):
    comparison = two_by_two(tmp_path, both=6, only_a=1, only_b=8, neither=5)
    line = comparison.overall
    assert (line.num_examples, line.num_a_ahead, line.num_b_ahead) == (20, 1, 8)
    assert (line.score_a, line.score_b, line.difference) == (7 / 20, 14 / 20, pytest.approx(7 / 20))
    assert line.p_value == line.p_corrected
    assert line.interval[0] < 7 / 20 < line.interval[1]
    assert comparison.mean is None


def test_the_side_that_is_better_is_named_whichever_comes_first(tmp_path):
    pair_of(tmp_path, {0: [1] * 12}, {0: [0] * 12})
    assert "A (ICL on mini-gpt, 32 shots) is right more often than B" in verdict(compared(tmp_path))
    assert "B (ICL on mini-gpt, 32 shots) is right more often than A" in verdict(compared(tmp_path, B, A))


def test_what_is_not_shown_is_not_called_different(tmp_path):
    # 5 to 0: p = 2/32 = .0625
    pair_of(tmp_path, {0: [0] * 9}, {0: [1] * 5 + [0] * 4})
    comparison = compared(tmp_path)
    assert verdict(comparison).startswith("No difference shown on nli between A (")
    assert not comparison.overall.is_different
    assert "ifferent" not in verdict(comparison)
    row = next(line for line in drawn(comparison).splitlines() if line.startswith("nli"))
    assert row.split()[-1] == "no"


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
    assert (mean.score_a, mean.score_b) == (pytest.approx((2 / 8 + 1 / 2) / 2), pytest.approx((1 + 1 / 2) / 2))
    assert (mean.num_examples, mean.num_a_ahead, mean.num_b_ahead) == (12, 2, 8)
    assert mean.p_value == pytest.approx(exact_mean(), abs=0.01)
    assert "on the mean over 2 tasks" in verdict(comparison)
    assert any("Holm 1979" in text for text in caveats.conventions(comparison))
    assert any("tasks kept fixed" in text for text in caveats.conventions(comparison))


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
    assert "48 answers of each side" in compare_text.paired(comparison)
    assert "12 examples of task nli, each under 2 templates and 2 seeds (0, 1)" in compare_text.paired(comparison)
    assert (
        "seed by seed B minus A is +33.3 to +33.3 points: above 0 with 2 of 2 seeds" in caveats.findings(comparison)[0]
    )


def test_sides_that_always_agree_have_no_interval(tmp_path):
    pair_of(tmp_path, {0: [1, 0, 1]}, {0: [1, 0, 1]})
    comparison = compared(tmp_path)
    assert (comparison.overall.interval, comparison.overall.p_value) == (None, 1)
    assert any(text.startswith("interval n/a") for text in caveats.findings(comparison))


def test_other_models_are_said_and_the_same_model_is_proposed(tmp_path):
    pair_of(tmp_path, {0: [1, 0]}, {0: [1, 1]}, "ia3", "mini-t0")
    (text,) = [text for text in findings_of(tmp_path, A, "ia3@mini-t0") if "different models" in text]
    assert "mini-gpt 2.81M, mini-t0 3.69M" in text
    assert "`peftbench tune --model mini-gpt --method ia3 --shots 32 --task PATH/nli.toml`" in text
    assert "`peftbench icl --model mini-t0 --shots 32 --task PATH/nli.toml`" in text
    stored(tmp_path, {0: [1, 0]}, model="mini-t0")
    (text,) = [text for text in findings_of(tmp_path, A, "ia3@mini-t0") if "different models" in text]
    assert "`peftbench compare ia3@mini-t0:32 icl@mini-t0:32`" in text


def test_fewer_shots_than_asked_and_left_out_answers_are_said(tmp_path):
    stored(tmp_path, {0: [1, 0], 1: [1, 0]}, used=24)
    stored(tmp_path, {0: [1, 0]}, "ia3")
    findings = findings_of(tmp_path)
    assert "left out: nli: template 1: only A has it" in findings
    assert any("24 of 32 shots" in text for text in findings)


def test_zero_shot_sides_do_not_speak_of_seeds(tmp_path):
    for model in ("mini-t0", "mini-gpt"):
        stored(tmp_path, {0: [1, 0]}, model=model, shots=0)
    comparison = compared(tmp_path, "zero-shot@mini-t0", "zero-shot@mini-gpt")
    assert not any("seed" in text for text in caveats.findings(comparison))


def test_numbers_are_written_with_fixed_decimals_and_no_negative_zero():
    assert [probability(value) for value in (0.0312, 0.5, 0.00002)] == ["0.0312", "0.5000", "<0.0001"]
    assert [points(value) for value in (0.1234, -0.00001, -0.05)] == ["+12.3", "0.0", "-5.0"]


def test_the_text_fits_100_columns_and_needs_no_colour(tmp_path):
    for task in ("a-task-with-a-name-that-is-longer-than-any-table-has-room-for-and-goes-on", "y"):
        pair_of(tmp_path, {0: [0] * 40}, {0: [1] * 40}, task=task, sha256=task[0] * 64, num_examples=40)
    text = drawn(compared(tmp_path))
    assert max(map(len, text.splitlines())) <= 100
    # the name folds, and the table stays whole
    assert sum(line.startswith("task ") for line in text.splitlines()) == 1
    assert "\x1b" not in text
    assert text.splitlines()[0] == "A: ICL on mini-gpt, 32 shots: icl@mini-gpt:32, 2 records"
    assert "only A" in text
    assert text.count("B better") == 3


def test_json_holds_what_the_text_says(tmp_path):
    for task in ("x", "y"):
        pair_of(tmp_path, {0: [0] * 40}, {0: [1] * 40}, task=task, sha256=task * 64)
    table = json.loads(json.dumps(compare_text.to_json(compared(tmp_path), []), allow_nan=False))
    assert (table["schema_version"], table["verdict"]) == (2, verdict(compared(tmp_path)))
    assert table["mean"]["difference"] == 1
    assert table["mean"]["interval"] is None
    assert [line["task"] for line in table["tasks"]] == ["x", "y"]
    assert (table["correction"], table["is_different"]) == ("Holm", True)
    assert len(table["a"]["records"]) == 2


ONE_DRAW = "the test is over examples, for one draw of shots: with another seed the sides may change places"


def test_one_draw_of_shots_is_not_taken_for_many(tmp_path):
    pair_of(tmp_path, {0: [1, 0]}, {0: [1, 1]})
    assert ONE_DRAW in findings_of(tmp_path)
    pair_of(tmp_path, {0: [1, 0]}, {0: [1, 0]}, seed=1)
    findings = findings_of(tmp_path)
    assert ONE_DRAW not in findings
    assert findings[0].endswith("is 0.0 to +50.0 points: above 0 with 1 of 2 seeds, below with 0")


def test_what_the_sides_do_not_share_is_said(tmp_path):
    zero = stored(tmp_path, {0: [1, 0]}, shots=0)
    first, second = (stored(tmp_path, {0: [1, 1]}, seed=seed) for seed in (0, 1))
    text = "A is zero-shot, which draws no shots: its answers stand beside those of each seed"
    assert text in findings_of(tmp_path, "zero-shot@mini-gpt", A)
    assert text.replace("A is", "B is") in findings_of(tmp_path, A, zero.id)
    assert "A has seed 0 and B seed 1: their shots differ" in findings_of(tmp_path, first.id, second.id)
    pair_of(tmp_path, {0: [1, 0]}, {0: [1, 1]})
    assert not any("shots differ" in text or "zero-shot" in text for text in findings_of(tmp_path))


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (("cpu", "float32"), ("cpu", "float32"), None),
        (("cuda", "float32"), ("cuda:1", "float32"), None),
        (("cpu", "float32"), ("cuda", "float32"), "A ran on cpu in float32, B on cuda in float32"),
        (("cuda", "bfloat16"), ("cuda:0, cuda:1", "bfloat16"), "A ran on cuda in bfloat16, B on 2 x cuda in bfloat16"),
        (("cpu", "float32"), ("cpu", "bfloat16"), "A ran on cpu in float32, B on cpu in bfloat16"),
    ],
)
def test_other_devices_and_weights_spread_otherwise_are_said(tmp_path, a, b, said):
    for method, (device, dtype) in (("ICL", a), ("ia3", b)):
        stored(tmp_path, {0: [1, 0]}, method, device=device, dtype=dtype)
    lines = [text.partition(":")[0] for text in findings_of(tmp_path) if " ran on " in text]
    assert lines == ([] if said is None else [said])


def test_a_row_of_several_devices_names_them_all(tmp_path):
    for seed, device in enumerate(["cpu", "cuda"]):
        pair_of(tmp_path, {0: [1, 0]}, {0: [1, 1]}, seed=seed, device=device)
    places = "cpu in float32 and cuda in float32"
    (text,) = [text for text in findings_of(tmp_path) if " ran on " in text]
    assert text.startswith(f"A ran on {places}, B on {places}: ")


@pytest.mark.parametrize(("num_examples", "are_few"), [(29, True), (30, False)])
def test_few_examples_are_said(tmp_path, num_examples, are_few):
    pair_of(tmp_path, {0: [1, 0] + [0] * (num_examples - 2)}, {0: [1, 1] + [0] * (num_examples - 2)})
    assert any("fewer than 30 examples" in text for text in findings_of(tmp_path)) is are_few


def test_one_method_on_two_models_needs_no_other_command(tmp_path):
    for model in ("mini-gpt", "mini-t0"):
        stored(tmp_path, {0: [1, 0]}, "ia3", model)
    (text,) = [text for text in findings_of(tmp_path, "ia3@mini-gpt", "ia3@mini-t0") if "different models" in text]
    assert text.endswith("they differ in that, too")


def test_several_answers_to_an_example_are_weighed_by_hand(tmp_path):
    # B minus A, summed over two templates and two seeds: 4, 2, 1, -1 of four examples. Of the 16 ways to flip signs
    # 6 have a sum of 6 or more, or -6 or less: 4 + 2 +- 1 +- 1 = 8, 6, 6, 4, and the same with all signs turned
    ahead = {(0, 0): [1, 1, 1, 0], (1, 0): [1, 1, 0, 0], (0, 1): [1, 0, 0, 0], (1, 1): [1, 0, 0, 0]}
    for seed in (0, 1):
        right_a = {template: [0, 0, 0, int(template == seed == 0)] for template in (0, 1)}
        pair_of(tmp_path, right_a, {template: ahead[template, seed] for template in (0, 1)}, seed=seed)
    comparison = compared(tmp_path)
    assert comparison.overall.test == "sign-flip permutation"
    assert comparison.overall.p_value == pytest.approx(6 / 16, abs=0.015)
    assert comparison.overall.difference == pytest.approx(6 / 16)
    assert (comparison.overall.num_a_ahead, comparison.overall.num_b_ahead) == (1, 3)
    assert not any("McNemar" in text for text in caveats.conventions(comparison))


def test_a_p_value_below_all_decimals_is_written_as_such(tmp_path):
    # all of 20 examples for B: 2 / 2^20
    comparison = two_by_two(tmp_path, both=0, only_a=0, only_b=20, neither=4)
    assert verdict(comparison).endswith(", p < 0.0001).")
    assert not any("different models" in text for text in caveats.findings(comparison))


MANY = {
    seed: [[int(value) for value in np.random.default_rng(seed).random(40) < share] for share in (0.5, 0.9)]
    for seed in range(2)
}


def pairs_of_metric(folder, metric, task="nli", sha256="d" * 64):
    """Two rows with two seeds; B is right more often."""
    for seed, (right_a, right_b) in MANY.items():
        pair_of(folder, {0: right_a}, {0: right_b}, task=task, sha256=sha256, metric=metric, seed=seed)


def of_answers(metric, right):
    """The metric of answers of the tests' records: example i has label i % 2."""
    labels = [example % 2 for example in range(len(right))]
    predictions = [label if is_right else 1 - label for label, is_right in zip(labels, right, strict=True)]
    return registry.metric(metric).of(predictions, labels)


@pytest.mark.parametrize("metric", ["macro_f1", "matthews"])
def test_another_metric_is_compared_in_its_own_values(tmp_path, metric):
    pairs_of_metric(tmp_path, metric)
    comparison = compared(tmp_path)
    line, title = comparison.overall, registry.metric(metric).title
    a, b = (np.mean([of_answers(metric, rights[side]) for rights in MANY.values()]) for side in (0, 1))
    assert (line.score_a, line.score_b, line.difference) == (pytest.approx(a), pytest.approx(b), pytest.approx(b - a))
    assert line.interval[0] < b - a < line.interval[1]
    assert (line.test, line.is_different) == ("approximate randomisation", True)
    assert f"B (ia3 on mini-gpt, 32 shots) has the better {title} than A" in verdict(comparison)
    text = " ".join(drawn(comparison).split())
    assert f"{registry.metric(metric).unit} B {registry.metric(metric).unit}" in text
    assert "accuracy" not in text
    assert "right more often" not in text
    assert "Yeh 2000" in text
    by_seed = [of_answers(metric, right_b) - of_answers(metric, right_a) for right_a, right_b in MANY.values()]
    assert caveats.findings(comparison)[0].startswith(
        f"seed by seed B minus A is {points(min(by_seed))} to {points(max(by_seed))} points"
    )
    (told,) = compare_text.to_json(comparison, [])["tasks"]
    assert (told["metric"]["name"], told["score_a"]) == (metric, line.score_a)


def test_the_other_way_round_another_metric_gives_the_mirrored_result(tmp_path):
    pairs_of_metric(tmp_path, "macro_f1")
    there, back = compared(tmp_path).overall, compared(tmp_path, B, A).overall
    assert back.difference == pytest.approx(-there.difference)
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert back.p_value == there.p_value


def test_tasks_of_one_metric_have_a_mean_and_tasks_of_two_have_none(tmp_path):
    for folder, metrics in (("same", ("macro_f1", "macro_f1")), ("mixed", ("accuracy", "macro_f1"))):
        for task, metric in zip("xy", metrics, strict=True):
            pairs_of_metric(tmp_path / folder, metric, task, task * 64)
    same, mixed = compared(tmp_path / "same"), compared(tmp_path / "mixed")
    assert same.mean.difference == pytest.approx(sum(line.difference for line in same.lines) / 2)
    assert (same.mean.test, same.overall) == ("approximate randomisation", same.mean)
    assert (mixed.mean, mixed.overall, len(mixed.lines)) == (None, None, 2)
    assert [line.p_corrected for line in mixed.lines] == [2 * line.p_value for line in mixed.lines]
    told = compare_text.to_json(mixed, caveats.findings(mixed))
    assert (told["is_different"], told["mean"], told["correction"]) == (None, None, "Holm")
    assert verdict(mixed).startswith("No verdict over all 2 tasks: their metrics differ (accuracy, macro F1).")
    assert not any("seed by seed" in text for text in caveats.findings(mixed))


def test_no_column_holds_two_metrics(tmp_path):
    for task, metric in (("x", "accuracy"), ("y", "macro_f1"), ("z", "matthews")):
        pairs_of_metric(tmp_path, metric, task, task * 64)
    text = drawn(compared(tmp_path)).splitlines()
    heads = [place for place, line in enumerate(text) if line.startswith("task  ")]
    assert [[line.split()[0] for line in text[place + 2 : place + 3]] for place in heads] == [["x"], ["y"], ["z"]]
    captions = [line for line in text if line in {"accuracy %", "macro F1 %", "Matthews correlation points"}]
    assert captions == ["accuracy %", "macro F1 %", "Matthews correlation points"]


def test_a_task_whose_sides_have_other_metrics_is_refused(tmp_path):
    stored(tmp_path, {0: [1, 0]}, metric="macro_f1")
    stored(tmp_path, {0: [1, 0]}, "ia3")
    with pytest.raises(RecordError) as caught:
        compared(tmp_path)
    assert caught.value.message == "task 'nli' is scored by several metrics: A has macro_f1; B has accuracy"
    assert "that made the older records again" in caught.value.hint


def test_the_side_of_the_better_score_is_named_where_less_is_better(tmp_path, error):
    pairs_of_metric(tmp_path, error)
    comparison = compared(tmp_path)
    assert comparison.overall.difference < 0
    assert "B (ia3 on mini-gpt, 32 shots) has the better error than A" in verdict(comparison)
    assert "B better" in drawn(comparison)


def of_fixed_counts(record, folder):
    """The record as that of a task whose label counts are fixed: rows of 0 and 1 in turn, as `scores` has them."""
    labels = " ".join(str(row % 2) for row in range(record.results[0].num_examples))
    task = record.task.model_copy(update={"labels": labels})
    path = folder / "records" / f"{record.id}.json"
    path.write_text(sealed(record.model_copy(update={"task": task}).model_dump_json(indent=2)))


def test_of_fixed_label_counts_rows_are_drawn_and_change_sides_by_their_labels(tmp_path):
    # A answers 0 to all 80 rows; B is right on 24 of 40 zeros and on 24 of 40 ones: 60 % against 50 %
    right_b = [int(row // 2 % 5 < 3) for row in range(80)]
    a, _ = pair_of(tmp_path, {0: [1, 0] * 40}, {0: right_b}, num_examples=80)
    plain = compared(tmp_path).overall
    assert (plain.test, plain.is_stratified, plain.is_different) == ("exact McNemar", False, False)
    of_fixed_counts(a, tmp_path)
    comparison = compared(tmp_path)
    line = comparison.overall
    assert (line.test, line.is_stratified) == ("sign-flip permutation", True)
    assert line.difference == plain.difference == pytest.approx(0.1)
    low, high = (0.1 + sign * 1.96 * np.sqrt(0.6 * 0.4 / 80) for sign in (-1, 1))
    assert line.interval == pytest.approx((low, high), abs=0.02)
    assert np.ptp(line.interval) < 0.8 * np.ptp(plain.interval)
    # 24 pairs of rows in which B is right on both: +1; 16 in which it is wrong on both: -1
    assert line.p_value == pytest.approx(significance.mcnemar(16, 24), abs=0.015)
    text = " ".join(drawn(comparison).split())
    assert "rows drawn within each label, whose counts are fixed by construction" in text
    assert compare_text.to_json(comparison, [])["tasks"][0]["is_stratified"] is True


def test_rows_that_a_side_lacks_leave_no_fixed_counts(tmp_path):
    a, _ = pair_of(tmp_path, {0: [1, 0] * 40}, {0: [1, 1, 0] * 20})
    of_fixed_counts(a, tmp_path)
    assert not compared(tmp_path).overall.is_stratified
