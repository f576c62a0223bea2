"""What fits: no more than there is room for, and nothing larger would."""

from dataclasses import replace

import pytest

from peftbench import registry
from peftbench.costs.describe import describe
from peftbench.costs.memory import DTYPE_BYTES
from peftbench.costs.of_memory import fitting, model_memory
from peftbench.costs.of_model import Workload, model_costs
from peftbench.errors import MethodError

ROOM = 24 * 10**9
CONFIGS = {name: registry.method(name).Config() for name in ("ia3", "lora", "full")}
WORK = Workload()


@pytest.fixture(scope="module")
def t0():
    return model_memory(describe("t0-11b"), WORK, CONFIGS, strict=True)


def test_a_batch_that_fits_is_the_largest_power_of_two_that_does(t0):
    fits = fitting(t0, WORK, CONFIGS, ROOM)
    trainings = [fit for fit in fits if fit.batch_size is not None]
    assert {(fit.strategy, fit.dtype) for fit in trainings} == {
        (name, dtype) for name in ("ia3", "lora") for dtype in ("bfloat16", "4bit")
    }
    for fit in trainings:
        assert fit.peak.total <= ROOM
        more = replace(WORK, batch_size=2 * fit.batch_size)
        larger = model_memory(t0.model, more, {fit.strategy: CONFIGS[fit.strategy]}, strict=True).uses
        (alike,) = [
            use
            for use in larger
            if (use.strategy, use.dtype, use.checkpointing) == (fit.strategy, fit.dtype, fit.checkpointing)
        ]
        assert alike.peak.total > ROOM


def test_checkpointing_takes_less_and_half_precision_does(t0):
    peaks = {(use.strategy, use.dtype, use.checkpointing): use.peak.total for use in t0.uses}
    for name, dtype, checkpointing in peaks:
        if checkpointing is False and name != "full":  # whose gradients are most of it
            assert peaks[name, dtype, True] < peaks[name, dtype, False]
        if dtype == "float32" and name != "full":  # whose copies in float32 come on top
            assert peaks[name, "4bit", checkpointing] < peaks[name, "bfloat16", checkpointing] < peaks[
                name, dtype, checkpointing
            ]  # fmt: skip


def test_it_is_what_the_table_of_costs_says(t0):
    for dtype in ("float32", "bfloat16"):
        costs = model_costs(t0.model, replace(WORK, dtype=dtype), {"ia3": CONFIGS["ia3"]}, strict=True)
        tuned = next(strategy for strategy in costs.strategies if strategy.name == "ia3")
        (use,) = [use for use in t0.uses if (use.strategy, use.dtype, use.checkpointing) == ("ia3", dtype, False)]
        assert tuned.value("training_bytes") == use.peak.total
    assert DTYPE_BYTES["4bit"] == DTYPE_BYTES["bfloat16"]


def test_a_method_that_does_not_fit_is_an_error_or_a_remark():
    model, config = describe("gpt3-125m"), {"lora": registry.method("lora").Config(rank=100_000)}
    with pytest.raises(MethodError):
        model_memory(model, WORK, config, strict=True)
    (remark,) = model_memory(model, WORK, config, strict=False).remarks
    assert remark.startswith("lora is left out: rank = 100,000")
