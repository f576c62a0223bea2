"""Work that workers do without torch: what the cell's model says."""

import os
import signal
import time
from pathlib import Path

from peftbench.flow.engines.engine import Job


def work(job):
    journal = Path(job.journal)
    journal.write_text(str(os.getpid()))
    if job.cells[0].model == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    while job.cells[0].model == "sleeps":
        time.sleep(60)
    return [{"id": job.cells[0].model, "is_new": True, "seconds": float(os.getpid())}]


def job(cell, folder, number=0):
    return Job((cell,), folder, folder, folder / f"{number}.jsonl", False, None, 1)
