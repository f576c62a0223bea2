"""Processes on this machine, each of which has its share of the threads."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection

from peftbench.flow.engines.engine import Answer, Job

Work = Callable[[Job], list[Answer]]


def _work(job: Job) -> list[Answer]:
    """Run a job; torch is imported in the worker, once."""
    from peftbench.flow.engines.work import work

    return work(job)


class Processes:
    """So many processes, each a pool of its own: one that is killed takes no other with it, and is made again.

    Args:
        number: Of processes.
        work: What they do with a job; a function of a module.
    """

    least_seconds = 5.0

    def __init__(self, number: int, work: Work = _work) -> None:
        self._work = work
        self.num_workers = self.num_submitted = number
        self.share = max(1, (os.cpu_count() or 1) // number)
        self._context = get_context("spawn")  # a process that has used CUDA cannot be forked
        self._reader, self._writer = self._context.Pipe(duplex=False)
        self._pools: list[tuple[ProcessPoolExecutor, Future[list[Answer]]]] = []

    def submit(self, job: Job) -> "Future[list[Answer]]":
        """Run a job in a process that has nothing else to do."""
        pool = self._idle() or ProcessPoolExecutor(1, self._context, _begin, (self._reader,))
        # Ctrl-C reaches all processes of a terminal; this one alone answers it.
        signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            future = pool.submit(self._work, job)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        self._pools.append((pool, future))
        return future

    def close(self) -> None:
        """End all processes, by closing the pipe that they watch."""
        self._writer.close()
        for pool, _ in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()

    def _idle(self) -> ProcessPoolExecutor | None:
        """Take out a pool that is done with its job, and drop those whose process was killed."""
        for entry in [entry for entry in self._pools if entry[1].done()]:
            self._pools.remove(entry)
            if not isinstance(entry[1].exception(), BrokenExecutor):
                return entry[0]
            entry[0].shutdown(wait=True)
        return None


def _begin(reader: Connection) -> None:
    """Let this process end when whoever started it closes the pipe, or ends, in whichever way."""

    def watch() -> None:
        reader.poll(None)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
