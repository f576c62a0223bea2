"""peftbench: in-context learning or parameter-efficient fine-tuning, what each costs and how accurate it is.

The public API is `__all__`. Nothing of it is imported before it is used: torch comes with `run` and `decide`, pandas
with `frame`.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftbench.decision.decide import decide
    from peftbench.errors import PeftbenchError
    from peftbench.flow.run import Outcome, run
    from peftbench.report.evidence.decide import Decision
    from peftbench.report.rows.frame import frame
    from peftbench.spec.cell import Cell, Fold, IclOptions, ScoringOptions, TaskSpec, Training
    from peftbench.store.results import Store

__version__ = "0.2.0"
__all__ = [
    "Cell",
    "Decision",
    "Fold",
    "IclOptions",
    "Outcome",
    "PeftbenchError",
    "ScoringOptions",
    "Store",
    "TaskSpec",
    "Training",
    "decide",
    "frame",
    "run",
]

_MODULES = {
    "Cell": "peftbench.spec.cell",
    "Decision": "peftbench.report.evidence.decide",
    "Fold": "peftbench.spec.cell",
    "IclOptions": "peftbench.spec.cell",
    "Outcome": "peftbench.flow.run",
    "PeftbenchError": "peftbench.errors",
    "ScoringOptions": "peftbench.spec.cell",
    "Store": "peftbench.store.results",
    "TaskSpec": "peftbench.spec.cell",
    "Training": "peftbench.spec.cell",
    "decide": "peftbench.decision.decide",
    "frame": "peftbench.report.rows.frame",
    "run": "peftbench.flow.run",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'peftbench' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _let_threads_sleep() -> None:
    """Let OpenMP's threads ask for work for some microseconds and then sleep, unless the user has chosen.

    Threads that stay awake make training three times slower beside one other busy process on two cores; those that
    sleep at once make it a fifth slower where nothing else runs (benchmarks/busy.py). Read when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


_let_threads_sleep()
