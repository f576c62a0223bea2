"""Seconds by the clock, peak memory, and the machine's own rate of matmuls. Kind `measured`."""

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass
class Measurement:
    """The time and memory of one block of code; filled in when the block ends.

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


def runs_of(
    function: Callable[[], Any], device: torch.device, *, most: int, least: int = 5, enough_seconds: float = 20.0
) -> list[Measurement]:
    """Measure a function again and again, after one run that does not count.

    Args:
        function: Work on the device is waited for.
        device: Where it works.
        most: How often it is run.
        least: How often it is run even if it is slow.
        enough_seconds: When so much time has passed, `least` runs are enough.
    """
    function()
    runs: list[Measurement] = []
    began = time.perf_counter()
    while len(runs) < most and (len(runs) < least or time.perf_counter() - began < enough_seconds):
        with measured(device) as run:
            function()
        runs.append(run)
    return runs


def seconds_of(runs: list[Measurement]) -> list[float]:
    """Return the wall time of each run; all of them have ended."""
    return [run.seconds for run in runs if run.seconds is not None]


def p95(values: list[float]) -> float:
    """Return the value that 95 % do not exceed, by linear interpolation."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


def matmul_flops_per_second(device: torch.device, dtype: torch.dtype, size: int = 1024, repeats: int = 5) -> float:
    """Measure the best rate that one square matmul reaches here, 2 FLOPs per multiply-add.

    Args:
        device: Where.
        dtype: Of the matrices.
        size: Rows and columns; large enough for the machine to be busy, small enough for a second.
        repeats: How often it is timed; the fastest counts.
    """
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / min(seconds_of(runs_of(lambda: left @ right, device, most=repeats)))


def peak_process_bytes() -> int:
    """Return the most memory that the process has held since it began (resident set), on Linux and macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device: torch.device) -> str:
    """Name the device on which was measured, with the threads of a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"{_cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"
    return device.type


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
