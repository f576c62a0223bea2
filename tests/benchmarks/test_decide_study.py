"""The study of `decide` on rows: its draws, its arithmetic on made-up lines, and one draw of a tiny model."""

import itertools
import math
from dataclasses import replace

import pytest

from benchmarks import decide_study as study
from tests.decision.rows import write_model

LINE = study.Line(
    task="lab-hazard", model="m", num_rows=40, draw=0, attempt=0, verdict="either", chosen="lora", value=0.8, low=0.7,
    high=0.88, num_test=100, true_verdict="either", accuracy=0.75, best=0.85, majority=0.5, lead=0.03,
)  # fmt: skip


def line(**changes):
    return replace(LINE, **changes)


@pytest.mark.parametrize(
    ("accuracy", "plain", "with_error"),
    [
        (0.7, True, True),
        (0.88, True, True),
        # sqrt(0.1^2 + 1.96^2 x 0.66 x 0.34 / 100) = 0.1365 below 0.8; sqrt(0.08^2 + 1.96^2 x 0.9 x 0.1 / 100) = 0.0994
        # above it, and with 0.91 x 0.09 it is 0.0977.
        (0.67, False, True),
        (0.66, False, False),
        (0.89, False, True),
        (0.90, False, False),
        (0.91, False, False),
    ],
)
def test_intervals_cover_with_and_without_the_error_of_the_further_rows(accuracy, plain, with_error):
    judged = line(accuracy=accuracy)
    assert (judged.covers, judged.covers_with_error) == (plain, with_error)


@pytest.mark.parametrize(
    ("verdict", "true_verdict", "counted"),
    [
        ("either", "either", "agrees"),
        ("tune", "tune", "agrees"),
        ("either", "tune", "is_undecided"),
        ("neither", "prompt", "is_undecided"),
        ("either", "neither", "is_undecided"),
        ("tune", "either", "is_unconfirmed"),
        ("prompt", "neither", "is_unconfirmed"),
        ("tune", "prompt", "is_unconfirmed"),
    ],
)
def test_a_verdict_agrees_is_undecided_or_is_unconfirmed(verdict, true_verdict, counted):
    judged = line(verdict=verdict, true_verdict=true_verdict)
    names = ("agrees", "is_undecided", "is_unconfirmed")
    assert [name for name in names if getattr(judged, name)] == [counted]


def test_the_wrong_side_is_the_one_that_is_behind_on_the_further_rows():
    sides = itertools.product(("tune", "prompt", "either", "neither"), (-0.1, 0.1))
    wrong = [side for side in sides if line(verdict=side[0], lead=side[1]).is_on_wrong_side]
    assert wrong == [("tune", -0.1), ("prompt", 0.1)]


def test_regret_is_of_the_pick_or_of_the_most_frequent_label():
    assert line().regret == pytest.approx(0.10)
    assert line(verdict="neither").regret == pytest.approx(0.35)
    assert line(best=0.75, majority=0.8).regret == pytest.approx(0.05)
    assert line(best=0.75, majority=0.8, verdict="neither").regret == 0


def test_the_table_counts_each_part_each_number_of_rows_and_all():
    lines = [
        line(),
        line(draw=1, verdict="tune", true_verdict="tune", accuracy=0.6, best=0.9),
        line(task="lab-nli2", verdict="neither", true_verdict="either"),
        line(task="lab-nli2", num_rows=80, verdict="prompt"),
    ]
    head, _, *rows = study.table(lines).splitlines()
    assert head.count("|") == rows[0].count("|")
    assert [row.split("|")[1].strip() for row in rows] == ["lab-hazard", "lab-nli2", "lab-nli2", *["**all**"] * 3]
    assert rows[0].startswith("| lab-hazard | m | 40 | 2 | 1 | 1 | 18.0 | 12.5 | 1 / 0 / 1 / 0 | 1 / 0 / 1 / 0 | 2 |")
    assert rows[0].endswith("| 2 | 0 | 0 | 0 | 20.0 | 30.0 |")
    assert rows[3].startswith("| **all** |  | 40 | 3 | 2 | 2 | 18.0 |")
    assert rows[5] == (
        "| **all** |  |  | 4 | 3 | 3 | 18.0 | 8.8 | 1 / 1 / 1 / 1 | 1 / 0 / 3 / 0 | 2 | 1 | 1 | 1 | 21.2 | 35.0 |"
    )


def test_a_part_of_which_draws_lack_is_named_and_not_published(tmp_path):
    whole = [line(draw=draw) for draw in range(study.NUM_DRAWS)]
    part = [line(draw=draw, num_rows=80) for draw in range(3)]
    (tmp_path / "README.md").write_text(f"Before.\n\n{study.MARKS[0]}old\n{study.MARKS[1]}\nAfter.\n")
    study.publish([*part, *whole], tmp_path)
    assert study.read(tmp_path / "draws.csv") == whole
    text = (tmp_path / "README.md").read_text()
    assert study.table(whole) in text
    assert "parts with fewer left out: lab-hazard [10, 3, 0]; lab-nli2 [0, 0, 0];" in text
    assert (text.startswith("Before.\n\n<!--"), text.endswith("-->\nAfter.\n"), "old" in text) == (True, True, False)


def test_the_committed_table_is_the_committed_draws():
    lines = study.read(study.REFERENCE / "draws.csv")
    assert study.finished(lines) == lines
    assert study.table(lines) in (study.REFERENCE / "README.md").read_text(encoding="utf-8")


def test_a_draw_is_the_same_whatever_the_order_of_the_rows_and_has_rows_of_each_class_for_each_fold():
    rows = [{"text": f"row {place}", "label": "rare" if place % 6 == 0 else "common"} for place in range(200)]
    ordered, attempt = study.drawn(rows, "t", 0, 20)
    assert study.drawn(rows[::-1], "t", 0, 20) == (ordered, attempt)
    assert sum(row["label"] == "rare" for row in ordered[:20]) >= 5
    assert sorted(row["text"] for row in ordered) == sorted(row["text"] for row in rows)
    assert attempt > 0
    assert study.drawn(rows, "t", 1, 20)[0] != ordered


def test_a_pool_has_no_text_twice():
    rows = study.pool("lab-hazard", None)
    assert len({row["text"].casefold() for row in rows}) == len(rows) > 2_000
    assert {row["label"] for row in rows} == {"left", "right"}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A study of one draw of 20 rows, on a tiny model."""
    subject = study.Subject(str(write_model(tmp_path)), ("text",), ("left", "right"))
    monkeypatch.setitem(study.SUBJECTS, "lab-hazard", subject)
    monkeypatch.setattr(study, "LAB_ROWS", 60)
    return lambda folder: study.carry_out(folder, ["lab-hazard"], None, sizes=(20,), num_test=10, num_draws=1)


def test_a_draw_is_run_judged_on_rows_that_no_strategy_saw_and_not_run_again(small, tmp_path, monkeypatch):
    (judged,) = small(tmp_path)
    assert (judged.num_rows, judged.num_test, judged.model) == (20, 10, "model")
    assert judged.low <= judged.value <= judged.high
    assert judged.verdict in study.VERDICTS
    assert judged.true_verdict in study.VERDICTS
    assert 0 <= judged.accuracy <= judged.best <= 1
    assert math.isclose(10 * judged.accuracy, round(10 * judged.accuracy))
    texts = [path.read_text().splitlines()[1:] for path in sorted((tmp_path / "rows").iterdir())]
    assert [len(of_file) for of_file in texts] == [20, 10]
    assert not {text.rsplit(",", 1)[0] for text in texts[0]} & {text.rsplit(",", 1)[0] for text in texts[1]}
    monkeypatch.setattr(study, "judged", None)
    assert small(tmp_path) == [judged]
