"""Seconds by the clock, and peak memory where the device tells. Kind `measured`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass
class Measurement:
    """What one block of code took; filled in when the block ends.

    Args:
        seconds: Wall time, work on the device included; None until the block has ended, and if it fails.
        peak_memory_bytes: Most memory that tensors held on the device during the block, those there before included.
        reason: Why a value is absent.
    """

    seconds: float | None = None
    peak_memory_bytes: int | None = None
    reason: str | None = "the measured block has not ended"


@contextmanager
def measured(device: torch.device) -> Iterator[Measurement]:
    """Measure the block.

    Args:
        device: Where its tensors are. CUDA is waited for on both ends, as its kernels run behind Python's back.

    Returns:
        A measurement that is complete when the block has ended. If the block raises, its values stay absent.
    """
    result = Measurement()
    is_cuda = device.type == "cuda"
    if is_cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    started = time.perf_counter()
    try:
        yield result
    except BaseException as error:
        result.reason = f"the measured block failed: {type(error).__name__}"
        raise
    if is_cuda:
        torch.cuda.synchronize(device)
        result.peak_memory_bytes = torch.cuda.max_memory_allocated(device)
    result.seconds = time.perf_counter() - started
    result.reason = None if is_cuda else f"device '{device.type}' keeps no peak of allocated memory"
