import time

import pytest
import torch

from peftbench.costs.measure import measured


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_tells_its_peak():
    device = torch.device("cuda")
    with measured(device) as result:
        torch.empty(10**6, device=device)
    assert result.peak_memory_bytes >= 4 * 10**6
