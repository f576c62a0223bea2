"""Options of `run` that say how many cells run at a time, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from peftbench.cli.options import RUNNING, RunOptions
from peftbench.spec import limits

if TYPE_CHECKING:
    from peftbench.flow.run import Outcome
    from peftbench.learners.progress import Watch
    from peftbench.spec.cell import Cell
    from peftbench.store.results import Store


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

    def run(
        self, cells: "Sequence[Cell]", store: "Store", watch: "Watch", options: RunOptions
    ) -> "Iterator[Outcome] | None":
        """Run cells there; None where the options name nothing but this process.

        Raises:
            PeftbenchError: As `flow.engines.dealing.run_on`; or there is no such engine.
        """
        from peftbench.flow.engines.choice import engine
        from peftbench.flow.engines.dealing import run_on

        chosen = engine(self.jobs, self.on, self.slurm, store.root)
        if chosen is None:
            return None
        force, strict = options.force, options.strict
        return run_on(chosen, cells, store, watch, force=force, strict=strict, threads=options.threads)
