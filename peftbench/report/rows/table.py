"""Records -> tables of which every row covers every task, so that what stands side by side may be compared."""

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peftbench.registry import METHODS, is_method
from peftbench.report.rows import confidence, setting, units
from peftbench.report.rows.confidence import MIXTURE
from peftbench.store.record import Cost, Record

if TYPE_CHECKING:
    import numpy as np

Costs = dict[tuple[str, str], Cost]
"""By name and kind."""
Interval = tuple[float, float]
"""Lowest and highest accuracy, 0 to 1."""
# Name of a cost -> the kinds in which the report takes it, best first. The paper's estimate is the last resort.
COLUMNS = {
    "inference_flops_per_example": ("counted", "traced", "estimated"),
    "cached_inference_flops_per_example": ("counted",),
    "cache_flops": ("counted",),
    "training_flops": ("counted", "traced", "estimated"),
    "disk_bytes": ("measured", "counted"),
    "learn_seconds": ("measured",),
}


@dataclass(frozen=True)
class Task:
    """A task as it was evaluated: the same rows, templates and number of examples."""

    name: str
    chance: float
    num_examples: int
    sha256: str
    is_mixture: bool = False


@dataclass(frozen=True)
class Spread:
    """Accuracy over templates x seeds, 0 to 1.

    Args:
        iqr: Interquartile range; None where there is one value only, which has no spread.
        num_orders: In which the same shots stood.
        interval: Of the median, 95 %; None where it cannot be told.
        why_no_interval: The reason; None where there is one.
        records: Where it comes from; none if it was published.
    """

    median: float
    iqr: float | None
    num_seeds: int
    num_templates: int
    num_orders: int = 1
    interval: Interval | None = None
    why_no_interval: str | None = None
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Row:
    """One way of learning on one model with one number of shots.

    Args:
        variant: What tells this row from others of the same method, model and shots; mostly "".
        label: The variant as people read it.
        num_saved_parameters: What is kept of those that are trained; None where records do not say it.
        num_unreached_parameters: Those among the trained that never got a gradient; None likewise.
        shots: Shots as asked for, and what was used where fewer fitted.
        accuracy: Mean over tasks of the median over templates x seeds.
        iqr: Mean over tasks of the interquartile range.
        interval: Of the accuracy, 95 %; None where it cannot be told.
        costs: By name; each the mean over tasks of the mean over seeds.
        spreads: By task.
        published: Whether the row was copied from a paper.
    """

    method: str
    variant: str
    label: str
    model: str
    shots: str
    num_parameters: int | None
    num_trained_parameters: int | None
    accuracy: float
    iqr: float | None
    num_examples: int | None
    num_seeds: str
    num_templates: str
    chance: float | None
    costs: Mapping[str, Cost]
    spreads: Mapping[Task, Spread]
    published: bool = False
    num_saved_parameters: int | None = None
    num_unreached_parameters: int | None = None
    num_orders: str = "1"
    num_cut_tokens: int = 0
    num_shots: int = 0
    interval: Interval | None = None

    @property
    def is_tuned(self) -> bool:
        """Whether parameters were trained."""
        return is_method(self.method)

    @property
    def is_icl(self) -> bool:
        """Whether it learned from shots in its prompt."""
        return self.method == "ICL"

    @property
    def title(self) -> str:
        """Method and model in words."""
        label = f" ({self.label})" if self.label else ""
        return f"{self.method}{label} on {self.model}"

    def cost(self, name: str) -> float | None:
        """Give the value of a cost, None where it is absent."""
        return self.costs[name].value if name in self.costs else None


@dataclass(frozen=True)
class Table:
    """Rows over tasks: each row covers each task."""

    tasks: tuple[Task, ...]
    rows: tuple[Row, ...]
    title: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def is_mixture(self) -> bool:
        """Whether its task is several tasks mixed, to tune an adapter on that others start from."""
        return any(task.is_mixture for task in self.tasks)


def build(records: Sequence[Record]) -> list[Table]:
    """Arrange records in as few tables as can be without a row that lacks a task.

    A mean over four tasks beside a mean over three of them would compare tasks, not methods. So tasks share a table
    if, and only if, the same settings were run on them; a name that stands for two sets of rows never does.
    """
    cells: dict[tuple[str, Task], list[Record]] = {}
    for record in records:
        cells.setdefault((setting.key(record), _task(record)), []).append(record)
    names = variants({key: group[0] for (key, _), group in cells.items()})
    settings: dict[Task, list[str]] = {}
    for key, task in cells:
        settings.setdefault(task, []).append(key)
    blocks: dict[tuple[frozenset[str], int], list[Task]] = {}
    for task in sorted(settings, key=lambda task: (task.name, task.num_examples)):
        keys = frozenset(settings[task])
        place = next(n for n in itertools.count() if task.name not in {t.name for t in blocks.get((keys, n), [])})
        blocks.setdefault((keys, place), []).append(task)
    return [
        _table(tasks, [({task: cells[key, task] for task in tasks}, names[key]) for key in names if key in keys])
        for (keys, _), tasks in blocks.items()
    ]


def _task(record: Record) -> Task:
    task, num_examples = record.task, record.results[0].num_examples
    is_mixture = task.family == MIXTURE
    if is_mixture:
        # Each row stands under the templates of its own task, which are named "task: template".
        num_examples = sum({one.name.partition(": ")[0]: one.num_examples for one in record.results}.values())
    return Task(task.name, task.chance, num_examples, task.sha256, is_mixture)


def variants(examples: Mapping[str, Record]) -> dict[str, str]:
    """Say for each row, given by one of its records, what tells it from others of its method, model and shots."""
    alike: dict[tuple[str, str, int], list[str]] = {}
    for key, record in examples.items():
        shown = (setting.method(record), record.model.name, record.identity.get("shots", record.learned.num_shots))
        alike.setdefault(shown, []).append(key)
    return {
        key: text
        for keys in alike.values()
        for key, text in zip(keys, setting.differences([examples[key] for key in keys]), strict=True)
    }


def _table(tasks: list[Task], groups: Iterable[tuple[dict[Task, list[Record]], str]]) -> Table:
    rows = [_row(group, variant) for group, variant in groups]
    return Table(tuple(tasks), tuple(sorted(rows, key=_order)))


def _order(row: Row) -> tuple[Any, ...]:
    """Sort by model, then zero-shot, ICL by shots, methods in the registry's order, those of peft after them."""
    place = 1 + [*METHODS, row.method].index(row.method) if row.is_tuned else 0
    return row.model, place, row.num_shots, row.method, setting.sort_key(row.variant)


def _row(group: Mapping[Task, list[Record]], variant: str) -> Row:
    records = [record for some in group.values() for record in some]
    first = records[0]
    asked = first.identity.get("shots", first.learned.num_shots)
    used = units.span([num_shots for record in records for num_shots in record.num_shots])
    draws = {task: confidence.drawn(some) for task, some in group.items()}
    spreads = {task: _spread(some, draws[task]) for task, some in group.items()}
    ranges = [spread.iqr for spread in spreads.values() if spread.iqr is not None]
    return Row(
        method=setting.method(first),
        variant=variant,
        label=setting.label(variant, first),
        model=first.model.name,
        shots=used if used == str(asked) else f"{used} of {asked}",
        num_parameters=first.model.num_parameters,
        num_trained_parameters=first.learned.num_trained_parameters,
        accuracy=statistics.fmean(spread.median for spread in spreads.values()),
        iqr=statistics.fmean(ranges) if len(ranges) == len(spreads) else None,
        num_examples=sum(task.num_examples for task in group),
        num_seeds=units.span([spread.num_seeds for spread in spreads.values()]),
        num_templates=units.span([spread.num_templates for spread in spreads.values()]),
        num_orders=units.span([spread.num_orders for spread in spreads.values()]),
        chance=statistics.fmean(task.chance for task in group),
        costs=_costs(group),
        spreads=spreads,
        num_saved_parameters=_most([record.learned.num_saved_parameters for record in records]),
        num_unreached_parameters=_most([record.learned.num_unreached_parameters for record in records]),
        num_cut_tokens=sum(record.work.get("cut_tokens", 0) for record in records),
        num_shots=asked,
        interval=_interval(list(draws.values())),
    )


def _most(numbers: Sequence[int | None]) -> int | None:
    return max((number for number in numbers if number is not None), default=None)


def _interval(draws: "Sequence[np.ndarray | None]") -> Interval | None:
    known = [one for one in draws if one is not None]
    return confidence.interval(known) if len(known) == len(draws) else None


def _spread(records: Sequence[Record], draws: "np.ndarray | None") -> Spread:
    values = [result.accuracy() for record in records for result in record.results]
    quarters = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else None
    interval = _interval([draws])
    return Spread(
        median=statistics.median(values),
        iqr=quarters[2] - quarters[0] if quarters else None,
        num_seeds=len({record.seed for record in records}),
        num_templates=len({result.template for record in records for result in record.results}),
        num_orders=len({setting.order(record) for record in records}),
        interval=interval,
        why_no_interval=None if interval else confidence.why_none(records),
        records=tuple(records),
    )


def _costs(group: Mapping[Task, list[Record]]) -> dict[str, Cost]:
    """Average each cost in the best kind that all records have; absent, with the reason, where there is none."""
    told: list[list[Costs]] = [
        [{(cost.name, cost.kind): cost for cost in one.costs} for one in records] for records in group.values()
    ]
    costs: dict[str, Cost] = {}
    for name, kinds in COLUMNS.items():
        found = (cost for kind in kinds if (cost := _averaged(told, name, kind)))
        first = next(found, None)
        if first:
            costs[name] = first if first.value is not None else next((c for c in found if c.value is not None), first)
    return costs


def _averaged(told: Sequence[Sequence[Costs]], name: str, kind: str) -> Cost | None:
    """Give the mean over tasks of the mean over seeds; None where no record has it."""
    found = [[costs.get((name, kind)) for costs in some] for some in told]
    present = [cost for some in found for cost in some if cost]
    if not present:
        return None
    absent = next((cost for cost in present if cost.value is None), None)
    if absent or len(present) < sum(len(some) for some in found):
        reason = absent.reason if absent else "some of the records do not have it"
        return present[0].model_copy(update={"value": None, "reason": reason})
    # Of a list, not of a generator: counting what that gives takes longer than adding it.
    means = [statistics.fmean([cost.value for cost in some if cost and cost.value is not None]) for some in found]
    mean = statistics.fmean(means)
    return present[0].model_copy(update={"value": mean if present[0].unit == "seconds" else round(mean)})
