"""Stopping at a plateau: the rule by hand, and trainings that end by it."""

import math

import pytest

from peftbench.learners import plateau
from peftbench.learners.plateau import Plateau
from peftbench.scoring.ranking import predict
from peftbench.spec.cell import Training
from tests.learners.test_tune import SHOTS, TEMPLATE, learn, totals
from tests.tiny import tiny_backbone


def steps(loss, *, num_warmup=0, most=2000):
    """Count the steps of a training whose loss is a function of the step; None where it does not stop."""
    watch = Plateau(num_warmup)
    return next((step + 1 for step in range(most) if watch.is_reached(loss(step))), None)


def test_a_flat_loss_ends_a_hundred_steps_after_the_first_mean():
    assert steps(lambda _step: 0.7) == 120
    assert steps(lambda _step: 0.7, num_warmup=60) == 180


def test_a_loss_that_scatters_ends_a_hundred_steps_after_its_last_low():
    assert steps(lambda step: 1.0 if step < 100 else 0.5 + 0.01 * (step % 2)) == 220  # the low: steps 100 .. 119


def test_a_loss_that_falls_goes_on():
    assert steps(lambda step: 2 * 0.9997**step) is None
    assert steps(lambda step: 2 * 0.9985**step + 0.3 * math.sin(step * step), most=800) is None


def test_what_falls_below_a_thousandth_has_nothing_left_to_fall():
    assert steps(lambda step: 10 * 0.98**step) < 700


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(plateau, "WINDOW", 4)
    monkeypatch.setattr(plateau, "PATIENCE", 8)


@pytest.mark.usefixtures("soon")
def test_it_ends_when_it_has_learnt_and_the_work_is_that_of_as_many_steps():
    settings = {"templates": [TEMPLATE], "lr": 0.02, "warmup_ratio": 0.0}
    stopped = learn(tiny_backbone("t5"), "full", num_steps=400, stop="plateau", **settings)
    num_steps = len(stopped.log)
    assert 12 <= num_steps < 200
    examples = [TEMPLATE.render(each) for each in SHOTS]
    assert [predict(choices) for choices in stopped.score(examples).choices] == [each.label for each in examples]
    assert stopped.work.num_steps == num_steps
    assert stopped.work == learn(tiny_backbone("t5"), "full", num_steps=num_steps, **settings).work


@pytest.mark.usefixtures("soon")
def test_what_still_falls_runs_all_steps_as_if_nobody_watched():
    runs = [learn(tiny_backbone("t5"), num_steps=24, stop=stop, lr=0.03) for stop in ("never", "plateau")]
    assert totals(runs[0]) == totals(runs[1])
    assert len(runs[1].log) == 24


def test_off_it_stands_in_no_identity():
    assert "stop" not in Training().model_dump(mode="json")
    assert Training(stop="plateau").model_dump(mode="json")["stop"] == "plateau"
    assert Training.model_validate(Training(stop="plateau").model_dump()).stop == "plateau"
