import time

import pytest
import torch

from peftbench.costs.clock import matmul_flops_per_second, measured, p95, runs_of, seconds_of


def test_a_block_s_seconds_are_those_of_the_clock():
    with measured(torch.device("cpu")) as result:
        time.sleep(0.02)
    assert 0.02 <= result.seconds < 1


def test_memory_that_the_device_does_not_tell_is_absent_with_a_reason():
    with measured(torch.device("cpu")) as result:
        pass
    assert result.peak_memory_bytes is None
    assert "'cpu'" in result.reason


def test_a_block_that_fails_has_no_seconds():
    with pytest.raises(ZeroDivisionError), measured(torch.device("cpu")) as result:
        1 / 0  # noqa: B018
    assert result.seconds is None
    assert "ZeroDivisionError" in result.reason


def test_a_slow_function_is_run_until_that_is_enough_and_a_first_run_does_not_count():
    calls = []
    runs = runs_of(lambda: calls.append(time.sleep(0.01)), torch.device("cpu"), most=20, least=3, enough_seconds=0)
    assert len(calls) == len(runs) + 1 == 4
    assert min(seconds_of(runs)) >= 0.01
    assert len(runs_of(lambda: None, torch.device("cpu"), most=7, least=3)) == 7


def test_95_percent_are_not_above_p95():
    assert p95([float(value) for value in range(101)]) == 95


def test_the_machine_s_rate_is_that_of_a_matmul_by_the_clock():
    size, best = 256, []
    left, right = torch.randn(size, size), torch.randn(size, size)
    for _ in range(20):
        began = time.perf_counter()
        left @ right
        best.append(2 * size**3 / (time.perf_counter() - began))
    found = matmul_flops_per_second(torch.device("cpu"), torch.float32, size, repeats=20)
    assert 0.2 < found / max(best) < 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_tells_its_peak():
    device = torch.device("cuda")
    with measured(device) as result:
        torch.empty(10**6, device=device)
    assert result.peak_memory_bytes >= 4 * 10**6
