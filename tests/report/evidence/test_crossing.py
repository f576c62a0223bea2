"""Where a tuned learning curve comes out above a prompted one."""

import math

import pytest

from peftbench.report.evidence.crossing import BEFORE, BEYOND, crossings, place
from peftbench.report.notes.crossing import sentence
from peftbench.report.notes.document import compose
from peftbench.report.rows.curves import curves
from peftbench.report.rows.table import build
from tests.report.records import record, under

NUM_EXAMPLES = 40


def answered(method, shots, right, seed=0, **more):
    """A record that answers the first of each ten examples rightly, as many as `right`."""
    made = record(method, shots=shots, seed=seed, correct=(4 * right,), num_examples=NUM_EXAMPLES, **more)
    digits = ("1" * right + "0" * (10 - right)) * 4
    results = [result.model_copy(update={"right": digits}) for result in made.results]
    return made.model_copy(update={"results": results})


def table(prompted, tuned, **more):
    made = [answered("ICL", shots, right) for shots, right in prompted.items()]
    made += [answered("lora", shots, right, **more) for shots, right in tuned.items()]
    (built,) = build(made)
    return built


@pytest.mark.parametrize(
    ("leads", "expected"),
    [
        ((1, 1, 1), BEFORE),
        ((-1, -1, -1), BEYOND),
        ((1, -1, 0), BEYOND),
        ((-1, 1, 1), math.sqrt(4 * 16)),
        ((-1, 3, 1), 4 * 4**0.25),
        ((1, -2, 2), math.sqrt(16 * 64)),  # ahead with few, behind with more: it is the last crossing that counts
        ((0, 1, 1), 4),
    ],
)
def test_places_by_hand(leads, expected):
    assert place((4, 16, 64), leads) == pytest.approx(expected)


def test_curves_are_rows_that_differ_in_their_number_of_examples_alone():
    made = [answered("ICL", 0, 3), answered("ICL", 4, 4), answered("ICL", 16, 5), answered("lora", 16, 6)]
    made += [answered("ia3", shots, 5) for shots in (4, 16)]
    prompted, tuned = curves(build(made)[0])
    assert [row.num_shots for row in prompted.points] == [0, 4, 16]
    assert [row.num_shots for row in tuned.points] == [0, 4, 16]
    assert (prompted.title, tuned.title) == ("ICL on mini-gpt", "ia3 on mini-gpt")


def test_calibrated_prompts_begin_with_the_calibrated_model():
    plain = [answered("ICL", shots, 4, icl={}) for shots in (0, 4)]
    calibrated = [answered("ICL", shots, 6, icl={"calibrate": True}) for shots in (0, 4)]
    found = {curve.title: [row.score for row in curve.points] for curve in curves(build([*plain, *calibrated])[0])}
    assert found == {"ICL on mini-gpt": [0.4, 0.4], "ICL (calibrate=true) on mini-gpt": [0.6, 0.6]}


def test_a_crossing_lies_between_the_numbers_that_both_ran():
    (found,) = crossings(table({0: 3, 4: 5, 16: 6, 64: 6}, {4: 4, 16: 7, 256: 9}))
    assert found.counts == (4, 16)
    assert found.leads == pytest.approx((-0.1, 0.1))
    assert found.place == pytest.approx(8)
    low, high = found.interval
    assert low <= found.place <= high
    assert sentence(found).startswith(
        "lora on mini-gpt is ahead of ICL on mini-gpt from about 8 examples on (95 % inte"
    )


@pytest.mark.parametrize(
    ("tuned", "text"),
    [
        (
            {4: 10, 16: 10},
            "is ahead of ICL on mini-gpt from 4 examples on, the fewest that both have (95 % interval: f",
        ),
        ({4: 0, 16: 0}, "is not ahead of ICL on mini-gpt with 16 examples, the most that both have (95 % interval: m"),
    ],
)
def test_curves_that_do_not_cross(tuned, text):
    (found,) = crossings(table({4: 5, 16: 5}, tuned))
    assert text in sentence(found)
    assert sentence(found).endswith(("fewer than 4)", "more than 16)"))


def test_one_number_of_examples_is_no_curve():
    assert list(crossings(table({4: 5, 16: 5}, {16: 9}))) == []
    assert not any("learning curves" in text for text in compose(ANSWERED[:2]).findings)


ANSWERED = [under("accuracy", record(method, shots=shots)) for shots in (4, 16) for method in ("ICL", "lora")]


def test_the_report_says_it_and_how_it_was_had():
    document = compose(ANSWERED)
    assert sum(text.startswith("learning curves: lora on mini-gpt is ") for text in document.findings) == 1
    assert sum(text.startswith("learning curves: ahead ") for text in document.conventions) == 1


def test_rows_that_do_not_say_which_answers_are_right_have_no_interval():
    made = [record(method, shots=shots) for shots in (4, 16) for method in ("ICL", "lora")]
    (found,) = crossings(build(made)[0])
    assert found.interval is None
    assert "interval" not in sentence(found)
