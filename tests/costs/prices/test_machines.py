"""Hours of machines and what training costs, against sums done by hand."""

from datetime import date

import pytest

from peftbench.costs.prices import machines
from peftbench.costs.prices.schema import Hosting, Traffic, TrainingPrice
from tests.costs.prices.files import API, H100
from tests.costs.prices.test_tokens import demand

MONTH = Traffic(queries_per_day=1000, days=30)
FEW_SHOT = 1.795e16
"""FLOPs: T-Few's training on T0-11B, as `peftbench cost` counts it."""


def host(**changes):
    return Hosting.model_validate(H100 | {"as_of": date(2026, 5, 7)} | changes)


def on_host(**changes):
    return TrainingPrice.model_validate({"on": "one H100"} | changes)


def by_token(**changes):
    return TrainingPrice.model_validate(API | {"as_of": date(2026, 10, 1)} | changes)


def tuned(**changes):
    return demand(0, **{"use": "tuned", "training_flops": FEW_SHOT, "num_examples": 8000} | changes)


def test_a_month_of_one_gpu():
    # 30 x 24 = 720 hours x 2.86
    assert machines.hosting(host(), tuned(), MONTH, "USD").value == pytest.approx(2059.20)
    assert machines.hosting(host(gpus=8), tuned(), MONTH, "USD").value == pytest.approx(8 * 2059.20)


def test_a_machine_may_be_up_for_a_part_of_the_month():
    assert machines.hours(host(hours_per_month=182.5), MONTH) == pytest.approx(180)


def test_training_takes_a_minute_and_five_cents():
    # 1.795e16 / 3e14 = 59.83 s; x 2.86 / 3,600 = 0.0475
    amount = machines.training(on_host(), host(), tuned(), "USD")
    assert amount.value == pytest.approx(0.0475, abs=5e-5)
    assert amount.convention == "(0 s + 1.795e+16 FLOPs / 3e+14 a second) x 2.86 an hour"


def test_a_machine_boots_before_it_trains():
    # 300 + 59.83 s
    amount = machines.training(on_host(start_seconds=300), host(), tuned(), "USD")
    assert amount.value == pytest.approx(359.83 * 2.86 / 3600, abs=1e-5)


def test_more_gpus_train_faster_for_the_same_money():
    alone, together = (machines.training(on_host(), host(gpus=gpus), tuned(), "USD").value for gpus in (1, 4))
    assert alone == pytest.approx(together)


def test_training_by_the_token():
    # 8,000 examples x (103 + 2) tokens = 840,000 x 0.46 / 10^6; what the wrong choice has is nobody's to bill
    assert machines.training(by_token(), None, tuned(), "USD").value == pytest.approx(0.3864)
    padded = by_token(billed="rows x max_length", max_length=512)
    assert machines.training(padded, None, tuned(), "USD").value == pytest.approx(8000 * 512 * 0.46 / 1e6)
    assert machines.training(by_token(minimum=4.0), None, tuned(), "USD").value == 4.0


def test_what_is_not_known_is_absent_with_its_reason():
    amount = machines.training(on_host(), host(sustained_flops=None), tuned(), "USD")
    assert (amount.value, amount.reason) == (None, "nobody measured the sustained_flops of 'one H100'")
    assert machines.training(on_host(), host(), tuned(training_flops=None), "USD").reason
    assert machines.training(by_token(), None, tuned(num_examples=None), "USD").reason


@pytest.mark.parametrize(("queries", "number"), [(1, 1), (259_200, 1), (259_201, 2), (600_000, 3)])
def test_machines_are_as_many_as_the_queries_take(queries, number):
    # 3e14 FLOPs a second for 720 hours are 7.776e20: 259,200 queries of 3e15
    needed = tuned(query_flops=3e15)
    assert machines.capacity(host(), needed, MONTH) == 259_200
    amount = machines.hosting(host(), needed, MONTH.of(queries), "USD")
    assert amount.value == pytest.approx(number * 2059.20)


def test_a_machine_of_ones_own_reads_the_shots_from_its_cache():
    needed = demand(41, query_flops=40, cached_query_flops=2)
    assert machines.capacity(host(), needed, MONTH) == 20 * machines.capacity(host(), demand(41, query_flops=40), MONTH)
