"""Which engine the options name."""

from peftbench.flow.engines.engine import Engine


def engine(jobs: int | None) -> Engine | None:
    """Choose an engine; None runs cells in this process.

    Args:
        jobs: Cells at a time.
    """
    if jobs is None or jobs == 1:
        return None
    from peftbench.flow.engines.processes import Processes

    return Processes(jobs)
