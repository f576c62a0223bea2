"""Seconds of forecast work, by hand arithmetic; no clock is needed."""

import pytest

from peftbench.flow.forecast import Forecast
from peftbench.flow.rate import SECONDS_PER_LAYER, WIDTH, Rate, Seconds

WORK = Forecast(learn_flops=10**12, score_flops=10**11, num_learn_passes=10, num_score_passes=3, d_model=WIDTH)


def doubled(forecast, rate):
    plain = rate.seconds(forecast)
    return Seconds(2 * plain.learning, 2 * plain.scoring)


def test_a_model_of_that_width_runs_at_half_the_matmuls_rate():
    assert Rate(1e11).seconds(WORK) == Seconds(pytest.approx(20), pytest.approx(2))
    assert Rate(1e11).total([WORK, WORK]).total == pytest.approx(44)


def test_a_pass_takes_time_for_each_layer_whatever_it_computes():
    empty = Forecast(num_learn_passes=10, num_score_passes=3, num_layers=4)
    expected = Seconds(40 * SECONDS_PER_LAYER["learning"], 12 * SECONDS_PER_LAYER["scoring"])
    assert Rate(1e11).seconds(empty) == pytest.approx(expected)


def test_what_was_measured_corrects_the_same_work_first_then_what_is_like_it():
    rate = Rate(1e11)
    lora = Forecast(learn_flops=10**12, score_flops=10**11, num_learn_passes=10, d_model=WIDTH, learner="lora")
    rate.learn(lora, Seconds(60, 4))  # three times and twice what was forecast
    assert rate.seconds(lora) == Seconds(pytest.approx(60), pytest.approx(4))
    rate.learn(WORK, Seconds(20, 0))  # as forecast; scoring was not measured
    assert rate.seconds(WORK) == Seconds(pytest.approx(20), pytest.approx(4))
    other = Forecast(learn_flops=10**12, d_model=WIDTH, learner="ia3")
    assert 20 < rate.seconds(other).learning < 60


def test_the_pace_of_scoring_stands_for_learning_that_was_never_measured():
    rate = Rate(1e11)
    rate.learn(WORK, Seconds(0, 6))
    assert rate.seconds(WORK) == Seconds(pytest.approx(60), pytest.approx(6))


def test_the_most_recent_weighs_most_and_a_long_cell_more_than_a_short_one():
    rate = Rate(1e11)
    rate.learn(WORK, Seconds(20, 2))
    rate.learn(WORK, Seconds(80, 2))
    assert rate.seconds(WORK).learning == pytest.approx(20 * (0.5 * 20 + 80) / (0.5 * 20 + 20))
    tiny = Forecast(learn_flops=10**8, num_learn_passes=1, d_model=WIDTH)
    before = rate.seconds(WORK).learning
    rate.learn(tiny, Seconds(1, 0))  # 500 times what was forecast
    assert rate.seconds(WORK).learning == pytest.approx(before, rel=0.1)
