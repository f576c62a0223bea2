"""Which engine the options name."""

from pathlib import Path

from peftbench.errors import RecipeError
from peftbench.flow.engines.engine import Engine

FORMS = "--on ray, --on ray:HOST:PORT, or --on slurm --slurm FILE.toml"


def engine(jobs: int | None, on: str | None, slurm: Path | None, results: Path) -> Engine | None:
    """Choose an engine; None runs cells in this process.

    Args:
        jobs: Batches at a time.
        on: "ray", "ray:ADDRESS" or "slurm"; None is this machine.
        slurm: How jobs are submitted to SLURM.
        results: The results folder.

    Raises:
        RecipeError: Options that no engine has, or that contradict each other.
        MethodError: The engine's package is not installed.
    """
    name, _, address = (on or "").partition(":")
    if name not in ("", "ray", "slurm") or (address and name != "ray"):
        raise RecipeError(f"--on '{(on or '')[:40]}' is nothing that cells run on", hint=FORMS)
    if (name == "slurm") != (slurm is not None):
        what = "--slurm goes with --on slurm" if slurm else "--on slurm needs to be told of partitions and times"
        raise RecipeError(what, hint="--on slurm --slurm FILE.toml; docs/scale.md has a file to begin with")
    if name == "ray":
        from peftbench.flow.engines.ray import Ray

        return Ray(address or None, jobs)
    if slurm is not None:
        from peftbench.flow.engines.slurm import Slurm

        return Slurm(slurm, jobs, results)
    if jobs is None or jobs == 1:
        return None
    from peftbench.flow.engines import processes

    return processes.Processes(jobs, processes.run_cells, processes.LOADS)
