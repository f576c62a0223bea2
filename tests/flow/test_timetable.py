"""What remains of a run, by a clock that the tests turn."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from peftbench.classifiers.base import ClassifierConfig
from peftbench.flow import timetable
from peftbench.flow.forecast import Forecast
from peftbench.flow.rate import WIDTH
from peftbench.learners.classify import Classifying
from peftbench.learners.progress import Silent
from peftbench.learners.tune import Tuning
from peftbench.methods.base import MethodConfig
from peftbench.spec.cell import Training

RECORD = object()
SCORING = Forecast(score_flops=10**12, num_score_passes=1, d_model=WIDTH)
BOTH = replace(SCORING, learn_flops=10**12, learner="ia3")


class Watch(Silent):
    """Keeps what remained."""

    def __init__(self):
        self.remained = []

    def remain(self, remaining):
        self.remained.append(remaining)


@pytest.fixture
def clock():
    return SimpleNamespace(now=0.0)


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def measurements(monkeypatch):
    calls = []

    def rate(device, dtype, **size):
        calls.append((device, dtype, size))
        return 1e11

    monkeypatch.setattr(timetable, "matmul_flops_per_second", rate)
    return calls


@pytest.fixture
def table(clock, watch, measurements, monkeypatch):
    """Make a timetable; trials bring their forecasts along."""
    monkeypatch.setattr(timetable, "forecasts", lambda trials: [trial.forecast for trial in trials])
    return lambda num_cells: timetable.Timetable(num_cells, watch, lambda: clock.now)


def trial(forecast, *, seed=0, num_queries=10, dtype=torch.float32, num_steps=10, sweep=False):
    training = Training(num_steps=num_steps)
    learner = Tuning("ia3", MethodConfig(), training, (), sweep=sweep) if forecast.learn_flops else None
    return SimpleNamespace(
        forecast=forecast,
        backbone=SimpleNamespace(device=torch.device("cpu"), dtype=dtype, name="tiny"),
        plan=SimpleNamespace(queries=[[None] * num_queries]),
        learner=learner,
        cell=SimpleNamespace(seed=seed),
    )


def scored(cell, clock, seconds, num_queries=10):
    with cell.scoring.stage("scoring", num_queries) as advance:
        for _ in range(num_queries):
            clock.now += seconds / num_queries
            advance(1, "")


def test_the_time_left_is_that_of_all_cells_and_follows_the_pace(table, clock, watch):
    trials = [trial(SCORING) for _ in range(3)]  # 20 seconds each, by the rate of the matmul
    plan = table(3)
    assert plan.enter([(one, None) for one in trials]) == []
    scored(plan.cell(trials[0]), clock, 40)
    first, halfway, last = (watch.remained[index] for index in (0, 5, -1))
    assert str(first) == "0 of 3 cells, about 60 s left"
    assert halfway.seconds == pytest.approx(0.5 * (0.5 * 20 + 20) + 40)
    assert last.seconds == pytest.approx(40)
    scored(plan.cell(trials[1]), clock, 40)
    assert watch.remained[11].seconds == pytest.approx(80)  # the first one took twice as long
    assert watch.remained[11].num_done == 1
    assert watch.remained[-1].share == pytest.approx(80 / 120)


def test_what_a_sweep_trains_is_part_of_learning(table, clock, watch):
    one = trial(BOTH, sweep=True)
    plan = table(1)
    plan.enter([(one, None)])
    cell = plan.cell(one)
    with cell.learning.stage("sweep", 100) as advance:
        advance(55, "")
    assert watch.remained[-1].seconds == pytest.approx(0.25 * 20 + 20)
    with cell.learning.stage("tuning", 10) as advance:
        clock.now += 5
        advance(55, "")
    assert watch.remained[-1].seconds == pytest.approx(20)
    assert cell.learning.spent == 5


def test_cells_with_records_are_done_and_those_of_other_models_unknown(table, clock, watch):
    one = trial(SCORING)
    plan = table(5)
    plan.enter([(trial(SCORING), RECORD), (one, None)])
    scored(plan.cell(one), clock, 20)
    assert str(watch.remained[0]) == "1 of 5 cells, about 20 s to cell 2"
    assert plan.enter([(trial(SCORING), RECORD)]) == []
    two = trial(SCORING)
    plan.enter([(trial(SCORING), RECORD), (two, None)])
    scored(plan.cell(two), clock, 20)
    assert str(watch.remained[-1]) == "4 of 5 cells, about 10 s left"


def test_the_matmul_is_measured_once_and_only_where_there_is_much_to_do(table, measurements):
    small = replace(SCORING, score_flops=10**9)
    plan = table(4)
    plan.enter([(trial(small), None)])
    assert measurements == []
    table(1).enter([(trial(SCORING), None)])
    half = table(2)
    half.enter([(trial(SCORING, dtype=torch.bfloat16), None)])
    half.enter([(trial(SCORING, dtype=torch.bfloat16), None)])
    assert [(dtype, size) for _, dtype, size in measurements] == [
        (torch.float32, {}),
        (torch.bfloat16, {"size": timetable.HALF_SIZE}),
    ]


@pytest.mark.parametrize(
    ("trials", "remark"),
    [
        (
            [trial(replace(SCORING, score_flops=10**14), num_queries=500)],
            "the cell on tiny will take about 33 min; what is interrupted goes on after the last finished cell; "
            "--limit N would shorten it",
        ),
        (
            [trial(replace(BOTH, learn_flops=10**14), seed=seed) for seed in (0, 1)],
            "2 cells on tiny will take about 67 min; what is interrupted goes on after the last finished cell; "
            "fewer seeds or --set num_steps=N would shorten it",
        ),
        (
            [trial(replace(SCORING, score_flops=10**15))],
            "the cell on tiny will take about 5.6 h; what is interrupted goes on after the last finished cell",
        ),
    ],
)
def test_a_long_plan_is_remarked_on_with_what_would_shorten_it(trials, remark, table):
    assert table(len(trials)).enter([(one, None) for one in trials]) == [remark]


def test_of_a_sentence_model_that_is_trained_pairs_are_what_there_are_fewer_of(table):
    learner = Classifying("setfit", ClassifierConfig(), (), ())
    long = trial(replace(BOTH, learn_flops=10**14))
    long.learner = learner
    (remark,) = table(1).enter([(long, None)])
    assert remark.endswith("--set num_iterations=N would shorten it")
