"""The costs of a row: each a mean over its tasks and seeds, in the best kind that all of its records have."""

import statistics
from collections.abc import Iterable, Sequence

from peftbench.store.record import Cost, Record

Costs = dict[tuple[str, str], Cost]
"""By name and kind."""
# Name of a cost -> the kinds in which the report takes it, best first. The paper's estimate is the last resort.
KINDS = {
    "inference_flops_per_example": ("counted", "traced", "estimated"),
    "cached_inference_flops_per_example": ("counted",),
    "cache_flops": ("counted",),
    "training_flops": ("counted", "traced", "estimated"),
    "disk_bytes": ("measured", "counted"),
    "learn_seconds": ("measured",),
}

ONCE = {"index_flops": ("counted",)}
"""The same of costs that no column shows, and that are paid once."""


def of_record(record: Record) -> dict[str, Cost | None]:
    """Return each cost of one record in the best kind that it has."""
    return {
        name: next((cost for kind in kinds if (cost := record.cost(name, kind))), None) for name, kinds in KINDS.items()
    }


def mean(tasks: Iterable[Sequence[Record]]) -> dict[str, Cost]:
    """Average each cost in the best kind that all records have; absent, with the reason, where there is none.

    Args:
        tasks: The records of a row, task by task.
    """
    by_task: list[list[Costs]] = [
        [{(cost.name, cost.kind): cost for cost in record.costs} for record in records] for records in tasks
    ]
    costs: dict[str, Cost] = {}
    for name, kinds in (KINDS | ONCE).items():
        means = (cost for kind in kinds if (cost := _mean(by_task, name, kind)))
        first = next(means, None)
        if first:
            costs[name] = first if first.value is not None else next((c for c in means if c.value is not None), first)
    return costs


def _mean(by_task: Sequence[Sequence[Costs]], name: str, kind: str) -> Cost | None:
    """Return the mean over tasks of the mean over seeds; None where no record has it."""
    costs = [[record.get((name, kind)) for record in records] for records in by_task]
    present = [cost for records in costs for cost in records if cost]
    if not present:
        return None
    absent = next((cost for cost in present if cost.value is None), None)
    if absent or len(present) < sum(len(records) for records in costs):
        reason = absent.reason if absent else "some of the records do not have it"
        return present[0].model_copy(update={"value": None, "reason": reason})
    # Of a list, not of a generator: counting what that gives takes longer than adding it.
    means = [statistics.fmean([cost.value for cost in records if cost and cost.value is not None]) for records in costs]
    value = statistics.fmean(means)
    return present[0].model_copy(update={"value": value if present[0].unit == "seconds" else round(value)})
