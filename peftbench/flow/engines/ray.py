"""Ray: a task for each batch, on this machine or on a cluster that is up."""

import os
import socket
from concurrent.futures import Future
from dataclasses import replace
from importlib import import_module

from peftbench.errors import RunError
from peftbench.flow.engines.engine import Answer, Job
from peftbench.flow.engines.work import work
from peftbench.spec.packages import require

SECONDS_TO_ANSWER = 5.0
OBJECT_STORE_BYTES = 100_000_000
"""Of a Ray of our own: ids are all that workers return."""
PORT = "6379"
SECONDS_OF_NEW, SECONDS_OF_WARM = 30.0, 5.0
"""Of a batch, at least: where each begins a process, and where processes are there already."""
AUTO = "auto"
"""Ray's word for the cluster that this machine is in."""


class Ray:
    """Tasks of Ray. With GPUs each has a process of its own, whose end frees its GPU; else they share some.

    Args:
        address: Of a cluster; None begins one on this machine, which ends with the run.
        jobs: Batches at a time; None leaves it to Ray.

    Raises:
        MethodError: Ray is not installed.
        RunError: No cluster answers.
    """

    least_seconds: float

    def __init__(self, address: str | None, jobs: int | None) -> None:
        require("ray", "ray", "--on ray")
        if address not in (None, AUTO):
            _check_answers(str(address))
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        local = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False} if address is None else {}
        try:
            ray.init(address or "local", logging_level="ERROR", log_to_driver=False, **local)
        except Exception as error:  # Ray raises all kinds, plain ones among them
            raise _unreachable(address, (str(error).splitlines() or [type(error).__name__])[0]) from None
        self._ray, resources = ray, ray.cluster_resources()
        num_cpus, num_gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
        self._device = "cuda" if num_gpus else "cpu"
        self.num_workers = jobs or num_gpus or num_cpus
        self.num_submitted = jobs or 10**6
        self.share = max(1, num_cpus // self.num_workers)
        # Torch sees a GPU that a task has not asked for.
        options = {"num_cpus": self.share, "num_gpus": 1 if num_gpus else 0, "max_retries": 0}
        options["max_calls"] = 1 if num_gpus else 0  # 0: as many as come
        self.least_seconds = SECONDS_OF_NEW if num_gpus or address is not None else SECONDS_OF_WARM
        self._task = ray.remote(**options)(work)
        if address is None and not num_gpus:  # its processes stay, and import torch while the driver does
            load = ray.remote(num_cpus=self.share, max_retries=0)(_load)
            for _ in range(self.num_workers):
                load.remote()

    def submit(self, job: Job) -> "Future[list[Answer]]":
        """Run a job as a task, on a GPU where the cluster has any."""
        cells = (
            cell if cell.device != "auto" else cell.model_copy(update={"device": self._device}) for cell in job.cells
        )
        future: Future[list[Answer]] = self._task.remote(replace(job, cells=tuple(cells))).future()
        return future

    def close(self) -> None:
        """End the tasks, and the Ray that was begun for them."""
        self._ray.shutdown()


def _load() -> None:
    """Import what work needs."""
    import_module(work.__module__)


def _check_answers(address: str) -> None:
    """Ask whether anybody listens: Ray itself goes on trying for a minute.

    Raises:
        RunError: Nobody does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        raise _unreachable(address, "it is no HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, str(error)) from None


def _unreachable(address: str | None, why: str) -> RunError:
    hint = f"`ray status` on a machine of the cluster; --on ray:HOST:{PORT}, or --on ray for this machine alone"
    return RunError(f"no Ray answers at '{address or 'this machine'}': {why}", hint=hint)
