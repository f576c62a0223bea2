"""Options of `run` that say how many cells run at a time, and where."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from peftbench.cli.options import RUNNING
from peftbench.spec import limits

if TYPE_CHECKING:
    from peftbench.flow.engines.engine import Engine


@dataclass(frozen=True)
class Workers:
    """Options of cells that run at the same time."""

    jobs: Annotated[
        int | None,
        Option(
            help="Run so many cells at a time, in processes that share the threads; of a cluster, so many jobs.",
            metavar="N",
            min=1,
            max=limits.MAX_JOBS,
            rich_help_panel=RUNNING,
        ),
    ] = None
    on: Annotated[
        str | None,
        Option(
            help="Run cells elsewhere: ray, ray:HOST:PORT, or slurm (docs/scale.md).",
            metavar="ENGINE",
            rich_help_panel=RUNNING,
        ),
    ] = None
    slurm: Annotated[
        Path | None,
        Option(
            help="With --on slurm: partition, time and the like, as submitit names them.",
            metavar="FILE",
            rich_help_panel=RUNNING,
        ),
    ] = None

    def engine(self, num_cells: int, results: Path) -> "Engine | None":
        """Choose where cells are run; None where the options name nothing but this process.

        Raises:
            PeftbenchError: There is no such engine.
        """
        from peftbench.flow.engines.choice import engine

        return engine(self.jobs and min(self.jobs, num_cells), self.on, self.slurm, results)
