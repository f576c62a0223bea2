"""Records -> tables of which every row covers every task, so that what stands side by side may be compared."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peftbench import registry
from peftbench.metrics.base import Scale
from peftbench.registry import CLASSIFIERS, ENSEMBLES, METHODS, is_classifier, is_ensemble, is_method
from peftbench.report.rows import confidence, costs, setting, strata
from peftbench.report.rows.confidence import MIXTURE, Draws
from peftbench.report.rows.setting import Setting
from peftbench.report.rows.units import Range
from peftbench.store.record import Cost, Record

Interval = tuple[float, float]
"""Lowest and highest score, as fractions of 1."""


@dataclass(frozen=True)
class Task:
    """A task as it was evaluated: the same rows, templates and number of examples."""

    name: str
    chance: float
    num_examples: int
    sha256: str
    is_mixture: bool = False
    metric: str = "accuracy"


@dataclass(frozen=True)
class Spread:
    """The score on one task over templates x seeds, as fractions of 1.

    Args:
        iqr: Interquartile range; None where there is one value only, which has no spread.
        accuracy: Median of the accuracies, whatever the score is; None where another score was published alone.
        num_orders: In which the same shots stood.
        interval: Of the median, 95 %; None where there is none.
        why_no_interval: The reason; None where there is one.
        is_stratified: Whether the interval's rows are drawn within each label, whose counts are fixed.
        records: Where it comes from; none if it was published.
    """

    median: float
    iqr: float | None
    num_seeds: int
    num_templates: int
    accuracy: float | None
    num_orders: int = 1
    interval: Interval | None = None
    why_no_interval: str | None = None
    is_stratified: bool = False
    records: tuple[Record, ...] = ()


@dataclass(frozen=True)
class Row:
    """A learner on one model with one number of shots, as facts; `fields.FIELDS` says how they are shown.

    Args:
        settings: What tells this row from others of the same method, model and shots; mostly none.
        losses: Weights of the losses by their settings, where they are among those.
        shots: Shots that were asked for, over tasks.
        used_shots: Shots that were used, over tasks, templates and seeds.
        chosen_from: Rows that shots were chosen from for each query, of the task with most; None where they were drawn.
        num_saved_parameters: Those that are used after training; None where records do not say it.
        num_unreached_parameters: Those among the trained that never got a gradient; None likewise.
        score: Mean over tasks of the median over templates x seeds.
        iqr: Mean over tasks of the interquartile range.
        accuracy: Mean over tasks of the median accuracy, whatever the score is; None likewise.
        interval: Of the score, 95 %; None where there is none.
        num_seeds: Over tasks; None where it was not published, as the next two.
        costs: By name; each the mean over tasks of the mean over seeds.
        spreads: By task.
        published: Whether the row was copied from a paper.
    """

    method: str
    model: str
    shots: Range
    used_shots: Range
    score: float
    iqr: float | None
    accuracy: float | None
    chance: float | None
    costs: Mapping[str, Cost]
    spreads: Mapping[Task, Spread]
    settings: tuple[Setting, ...] = ()
    losses: Mapping[str, float] = field(default_factory=dict)
    interval: Interval | None = None
    chosen_from: int | None = None
    num_parameters: int | None = None
    num_trained_parameters: int | None = None
    num_saved_parameters: int | None = None
    num_unreached_parameters: int | None = None
    num_examples: int | None = None
    num_seeds: Range | None = None
    num_orders: Range | None = None
    num_templates: Range | None = None
    num_cut_tokens: int = 0
    published: bool = False

    @property
    def is_tuned(self) -> bool:
        """Whether parameters were trained."""
        return is_method(self.method) or is_ensemble(self.method)

    @property
    def is_classified(self) -> bool:
        """Whether a classifier answered from embeddings, without a prompt."""
        return is_classifier(self.method)

    @property
    def is_learned(self) -> bool:
        """Whether something was learned from rows that no prompt shows: parameters, or a classifier."""
        return self.is_tuned or self.is_classified

    @property
    def is_icl(self) -> bool:
        """Whether it learned from shots in its prompt."""
        return self.method == "ICL"

    @property
    def is_zero_shot(self) -> bool:
        """Whether it learned from nothing: no seed decides anything."""
        return self.method == "zero-shot"

    @property
    def num_shots(self) -> int:
        """Shots that were asked for; the fewest, where a published row has several numbers."""
        return self.shots.low

    @property
    def num_labelled(self) -> int:
        """Labelled examples that it took: its shots, or the rows that they were chosen from."""
        return self.chosen_from or self.num_shots

    @property
    def metric(self) -> Scale:
        """What its score is; the same on all of its tasks."""
        return registry.scale(next(iter(self.spreads)).metric)

    @property
    def records(self) -> list[Record]:
        """The records of all tasks; none if it was published."""
        return [record for spread in self.spreads.values() for record in spread.records]

    def cost(self, name: str) -> float | None:
        """Return the value of a cost, None where it is absent."""
        return self.costs[name].value if name in self.costs else None

    @property
    def once_flops(self) -> float | None:
        """What is paid once, whatever the number of queries: training, or indexing what shots are chosen from."""
        training = self.cost("training_flops")
        return None if training is None else training + (self.cost("index_flops") or 0)


@dataclass(frozen=True)
class Table:
    """Rows over tasks of one metric: each row covers each task."""

    tasks: tuple[Task, ...]
    rows: tuple[Row, ...]
    title: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_mixture(self) -> bool:
        """Whether its task is several tasks in one, to tune an adapter on that others start from."""
        return any(task.is_mixture for task in self.tasks)

    @property
    def metric(self) -> Scale:
        """What the scores of its rows are."""
        return registry.scale(self.tasks[0].metric)

    @property
    def best(self) -> Row:
        """The row of the best score; of equals the first."""
        return best(self.rows)


def best(rows: Sequence[Row]) -> Row:
    """Return the row of the best score, by the direction of its metric; of equals the first."""
    sign = 1 if rows[0].metric.higher_is_better else -1
    return max(rows, key=lambda row: sign * row.score)


def common_model(rows: Sequence[Row]) -> str | None:
    """Return the model that all rows have; None where they differ, or there are none."""
    models = {row.model for row in rows}
    return models.pop() if len(models) == 1 else None


def build(records: Sequence[Record]) -> list[Table]:
    """Arrange records in as few tables as can be without a row that lacks a task.

    A mean over four tasks beside a mean over three of them would compare tasks, not methods. So tasks share a table
    if, and only if, the same settings were run on them, under the same metric; a name that stands for two sets of rows
    never does.
    """
    cells: dict[tuple[str, Task], list[Record]] = {}
    for record in records:
        cells.setdefault((setting.key(record), _task(record)), []).append(record)
    settings = distinguish({key: group[0] for (key, _), group in cells.items()})
    tables = []
    for keys, tasks in _blocks(cells):
        rows = [_row({task: cells[key, task] for task in tasks}, settings[key]) for key in settings if key in keys]
        tables.append(Table(tuple(tasks), tuple(sorted(rows, key=_order))))
    return tables


def distinguish(examples: Mapping[str, Record]) -> dict[str, tuple[Setting, ...]]:
    """Find for each row, given by one of its records, what tells it from others of its method, model and shots."""
    alike: dict[tuple[str, str, int], list[str]] = {}
    for key, record in examples.items():
        columns = (setting.method(record), record.model.name, setting.shots(record))
        alike.setdefault(columns, []).append(key)
    return {
        key: settings
        for keys in alike.values()
        for key, settings in zip(keys, setting.differences([examples[key] for key in keys]), strict=True)
    }


def _blocks(cells: Mapping[tuple[str, Task], object]) -> list[tuple[frozenset[str], list[Task]]]:
    """Group tasks on which the same settings were run, and part those of one name; in the order of their names."""
    keys: dict[Task, set[str]] = {}
    for key, task in cells:
        keys.setdefault(task, set()).add(key)
    groups: dict[tuple[frozenset[str], str], list[Task]] = {}
    for task in sorted(keys, key=_place):
        groups.setdefault((frozenset(keys[task]), task.metric), []).append(task)
    blocks = [(shared, part) for (shared, _), tasks in groups.items() for part in _without_homonyms(tasks)]
    return sorted(blocks, key=lambda block: _place(block[1][0]))


def _without_homonyms(tasks: Sequence[Task]) -> list[list[Task]]:
    """Part tasks so that no two in a part have the same name."""
    parts: list[list[Task]] = []
    for task in tasks:
        free = next((part for part in parts if task.name not in {other.name for other in part}), None)
        if free is None:
            parts.append([task])
        else:
            free.append(task)
    return parts


def _place(task: Task) -> tuple[str, int]:
    return task.name, task.num_examples


def _task(record: Record) -> Task:
    task, first = record.task, record.results[0]
    num_examples = first.num_examples + (first.num_skipped or 0)
    is_mixture = task.family == MIXTURE
    if is_mixture:
        # Each row stands under the templates of its own task, which are named "task: template".
        num_examples = sum({result.name.partition(": ")[0]: result.num_examples for result in record.results}.values())
    return Task(task.name, task.chance, num_examples, task.sha256, is_mixture, record.metric)


def _order(row: Row) -> tuple[Any, ...]:
    """Sort by model, then zero-shot, ICL by shots, classifiers, methods in the registry's order, those of peft."""
    place = 1 + [*CLASSIFIERS, *METHODS, *ENSEMBLES, row.method].index(row.method) if row.is_learned else 0
    return row.model, place, row.num_shots, row.method, setting.sort_key(row.settings)


def _row(group: Mapping[Task, list[Record]], settings: tuple[Setting, ...]) -> Row:
    records = [record for of_task in group.values() for record in of_task]
    first = records[0]
    draws = {task: confidence.drawn(of_task) for task, of_task in group.items()}
    spreads = {task: _spread(task, of_task, draws[task]) for task, of_task in group.items()}
    accuracies = [spread.accuracy for spread in spreads.values() if spread.accuracy is not None]
    ranges = [spread.iqr for spread in spreads.values() if spread.iqr is not None]
    return Row(
        method=setting.method(first),
        settings=settings,
        losses=setting.losses(settings, first),
        model=first.model.name,
        shots=Range.of([setting.shots(first)]),
        used_shots=Range.of([num_shots for record in records for num_shots in record.num_shots]),
        chosen_from=_most([record.learned.chosen_from for record in records]) if setting.is_chosen(first) else None,
        num_parameters=first.model.num_parameters,
        num_trained_parameters=_most([record.learned.num_trained_parameters for record in records]),
        num_saved_parameters=_most([record.learned.num_saved_parameters for record in records]),
        num_unreached_parameters=_most([record.learned.num_unreached_parameters for record in records]),
        score=statistics.fmean(spread.median for spread in spreads.values()),
        iqr=statistics.fmean(ranges) if len(ranges) == len(spreads) else None,
        accuracy=statistics.fmean(accuracies) if accuracies else None,
        interval=_interval(list(draws.values())),
        chance=statistics.fmean(task.chance for task in group),
        num_examples=sum(task.num_examples for task in group),
        num_seeds=Range.of([spread.num_seeds for spread in spreads.values()]),
        num_orders=Range.of([spread.num_orders for spread in spreads.values()]),
        num_templates=Range.of([spread.num_templates for spread in spreads.values()]),
        num_cut_tokens=sum(record.work.get("cut_tokens", 0) for record in records),
        costs=costs.mean(group.values()),
        spreads=spreads,
    )


def _most(numbers: Sequence[int | None]) -> int | None:
    return max((number for number in numbers if number is not None), default=None)


def _interval(draws: Sequence[Draws | None]) -> Interval | None:
    """Return the interval of the mean over tasks; None where a task has no draws."""
    present = [task for task in draws if task is not None]
    return confidence.interval(present) if len(present) == len(draws) else None


def _spread(task: Task, records: Sequence[Record], draws: Draws | None) -> Spread:
    results = [result for record in records for result in record.results]
    values = [result.value() for result in results]
    quarters = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else None
    interval = _interval([draws])
    return Spread(
        median=statistics.median(values),
        iqr=quarters[2] - quarters[0] if quarters else None,
        num_seeds=len({record.seed for record in records}),
        num_templates=len({result.template for result in results}),
        accuracy=None if results[0].written else statistics.median(result.accuracy() for result in results),
        num_orders=len({setting.order(record) for record in records}),
        interval=interval,
        why_no_interval=None if interval else confidence.why_none(records),
        is_stratified=interval is not None and strata.labels(records) is not None,
        records=tuple(records),
    )
