"""Processes on this machine, each of which has its share of the threads."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from typing import Any

from peftbench.flow.engines.engine import Answer, Job

Work = Callable[[Any], Any]
LOADS = "peftbench.flow.engines.work"
"""The module that cells need."""


def run_cells(job: Job) -> list[Answer]:
    """Run a job; torch is imported where it is not yet."""
    from peftbench.flow.engines.work import work

    return work(job)


class Processes:
    """So many processes, each a pool of its own: one that is killed takes no other with it, and is made again.

    They are forked off a process that begins at once, and imports torch while the driver does: once for all of them.

    Args:
        number: Of processes.
        work: What they do with a job; a function of a module.
        loads: The module that work needs, which is imported once for all of them; None where it needs none.
    """

    least_seconds = 5.0

    def __init__(self, number: int, work: Work, loads: str | None = None) -> None:
        self._work = work
        self.num_workers = self.num_submitted = number
        self.share = max(1, (os.cpu_count() or 1) // number)
        self._context = get_context("forkserver")  # the driver may have used CUDA, and cannot be forked then
        self._reader, self._writer = self._context.Pipe(duplex=False)
        self._pools: list[tuple[ProcessPoolExecutor, Future[Any]]] = []
        if loads and sys.platform == "linux":  # elsewhere libraries may not bear a fork once they are loaded
            self._context.set_forkserver_preload([loads])
        with _without_interrupts():
            forkserver.ensure_running()

    def submit(self, job: Any) -> "Future[Any]":
        """Run a job in a process that has nothing else to do."""
        pool = self._idle() or self._pool()
        with _without_interrupts():
            try:
                future = pool.submit(self._work, job)
            except BrokenExecutor:  # it was killed while it had nothing to do
                pool = self._pool()
                future = pool.submit(self._work, job)
        self._pools.append((pool, future))
        return future

    def close(self) -> None:
        """End all processes, by closing the pipe that they watch."""
        self._writer.close()
        for pool, _ in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, self._context, _begin, (self._reader,))

    def _idle(self) -> ProcessPoolExecutor | None:
        """Take out a pool that is done with its job, and drop those whose process was killed."""
        for entry in [entry for entry in self._pools if entry[1].done()]:
            self._pools.remove(entry)
            if not isinstance(entry[1].exception(), BrokenExecutor):
                return entry[0]
            entry[0].shutdown(wait=True)
        return None


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let processes that are begun now hear no Ctrl-C: it reaches all of a terminal, and the driver answers it."""
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


def _begin(reader: Connection) -> None:
    """Let this process end when whoever started it closes the pipe, or ends, in whichever way."""

    def watch() -> None:
        reader.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
