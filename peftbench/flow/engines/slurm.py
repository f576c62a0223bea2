"""SLURM: a job for each batch, submitted by submitit."""

import logging
import os
import shutil
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from peftbench.errors import RecipeError, RunError
from peftbench.flow.engines.engine import Answer, Job
from peftbench.flow.engines.work import work
from peftbench.spec import limits, values
from peftbench.spec.packages import require

DEFAULTS = {"timeout_min": 120, "cpus_per_task": 1, "name": "peftbench"}
"""Where the file says nothing: submitit's own five minutes are less than a batch takes."""
LOGS = "slurm"
SECONDS_BETWEEN_LOOKS = 0.5
NUM_WORKERS = 8
"""Jobs at a time that batches are cut for, where nobody has said how many."""


class Slurm:
    """Jobs of SLURM.

    Args:
        path: TOML of submitit's parameters; `cluster = "local"` runs them as processes of this machine.
        jobs: Batches at a time; None leaves it to SLURM.
        results: The results folder, in which submitit's files and logs are.

    Raises:
        MethodError: submitit is not installed.
        RecipeError: The file cannot be read, or has parameters that submitit does not know.
        RunError: There is no SLURM here.
    """

    least_seconds = 300.0

    def __init__(self, path: Path, jobs: int | None, results: Path) -> None:
        require("submitit", "slurm", "--on slurm")
        table: dict[str, Any] = DEFAULTS | _read(path)
        cluster = table.pop("cluster", "slurm")
        if cluster == "slurm" and shutil.which("sbatch") is None:
            hint = f'start on a login node; cluster = "local" in {path} runs the jobs as processes of this machine'
            raise RunError("there is no SLURM on this machine: no sbatch in PATH", hint=hint)
        self._folder = (results / LOGS).absolute()
        self._executor = _executor(path, cluster, self._folder, table)
        self.num_workers = jobs or NUM_WORKERS
        self.num_submitted = jobs or 10**6
        self.share = table["cpus_per_task"]
        self._work = _work_until_left if cluster == "local" else work
        self._jobs: dict[Any, Future[list[Answer]]] = {}
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> "Future[list[Answer]]":
        """Submit a job."""
        future: Future[list[Answer]] = Future()
        self._jobs[self._executor.submit(self._work, job)] = future
        return future

    def close(self) -> None:
        """Cancel the jobs that are not done."""
        self._is_closed.set()
        self._thread.join()
        for job in self._jobs:
            job.cancel(check=False)
        with suppress(OSError):  # unless logs of jobs that did not end well are in it
            self._folder.rmdir()

    def _follow(self) -> None:
        """Hand on what jobs return, or how they ended."""
        while not self._is_closed.wait(SECONDS_BETWEEN_LOOKS):
            for job in [job for job in list(self._jobs) if job.done()]:
                future = self._jobs.pop(job)
                try:
                    future.set_result(job.result())
                except Exception as error:
                    future.set_exception(error)
                else:
                    _forget(job.paths)


def _work_until_left(job: Job) -> list[Answer]:
    """Work until the folder of the journals goes away: a process that Ctrl-C reaches twice forgets to end its own."""

    def watch() -> None:
        while job.journal.parent.exists():
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return work(job)


def _forget(paths: Any) -> None:
    """Remove what a job that ended well has left."""
    for path in (paths.stdout, paths.stderr, paths.result_pickle, paths.submitted_pickle):
        path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        table = values.toml_file(path)
    except OSError as error:
        raise RecipeError(f"cannot read '{path}': {error.strerror}", hint="--slurm FILE.toml") from None
    except ValueError as error:
        raise RecipeError(f"'{path}' is no TOML: {error}", hint='a line each: slurm_partition = "gpu"') from None
    number = table.get("cpus_per_task", 1)
    if not (type(number) is int and 1 <= number <= limits.MAX_JOBS):
        raise RecipeError(f"'{path}': cpus_per_task = {number!r} is no number of cores", hint="cpus_per_task = 4")
    return table


def _executor(path: Path, cluster: Any, folder: Path, table: dict[str, Any]) -> Any:
    """Make submitit's executor with the file's parameters.

    Raises:
        RecipeError: It does not know them.
    """
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        executor.update_parameters(**table)
    except (ValueError, NameError, TypeError, AttributeError, AssertionError) as error:
        message = " ".join(str(error).split())
        hint = (
            "timeout_min, cpus_per_task, gpus_per_node, mem_gb, slurm_partition, slurm_account, slurm_array_parallelism"
        )
        raise RecipeError(f"'{path}': {message}", hint=hint) from None
    return executor
