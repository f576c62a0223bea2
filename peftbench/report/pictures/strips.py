"""How scores vary with the template and with the shots that were drawn, one task at a time."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from peftbench.metrics.base import Scale
from peftbench.report.pictures.figures import Axis, magnitude, tick
from peftbench.report.rows import names, setting, units
from peftbench.report.rows.metric import has_chance, heading
from peftbench.report.rows.table import Row, Spread, Table, Task
from peftbench.store.record import Record, TemplateResult


@dataclass(frozen=True)
class Answer:
    """The score under one template with one seed.

    Args:
        line: Which of the row's templates, from the top.
        details: What it is, in full; several lines.
    """

    score: float
    line: int
    details: str


@dataclass(frozen=True)
class Band:
    """One row of the table on one task.

    Args:
        quartiles: First and third; None for one answer.
    """

    label: str
    series: str
    median: float
    quartiles: tuple[float, float] | None
    answers: tuple[Answer, ...]
    num_templates: int


@dataclass(frozen=True)
class Strip:
    """All rows on one task.

    Args:
        chance: Score of guessing; None where answers are written.
    """

    task: str
    metric: Scale
    chance: float | None
    axis: Axis
    bands: tuple[Band, ...]


def strips(table: Table) -> list[Strip]:
    """Gather the scores of each task under each template with each seed; published rows have none."""
    rows = [row for row in table.rows if not row.published]
    has_models = len({row.model for row in rows}) > 1
    has_shots = len({row.num_shots for row in rows if row.is_tuned}) > 1
    chance = has_chance(table.metric)
    by_task = [
        (task, tuple(_band(row, row.spreads[task], _label(row, has_models, has_shots)) for row in rows))
        for task in table.tasks
        if rows
    ]
    return [
        Strip(task.name, table.metric, task.chance if chance else None, _axis(task, bands, table.metric), bands)
        for task, bands in by_task
    ]


def _band(row: Row, spread: Spread, label: str) -> Band:
    results = [(record, result) for record in spread.records for result in record.results]
    templates = sorted({result.template for _, result in results})
    answers = tuple(
        Answer(result.value(), templates.index(result.template), _details(row, record, result))
        for record, result in results
    )
    values = [answer.score for answer in answers]
    quarters = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else None
    return Band(
        label=label,
        series=row.method,
        median=spread.median,
        quartiles=(quarters[0], quarters[2]) if quarters else None,
        answers=answers,
        num_templates=len(templates),
    )


def _details(row: Row, record: Record, result: TemplateResult) -> str:
    score = f"{row.metric.title} {units.percent(result.value(), row.metric.decimals)} {row.metric.unit}"
    number = f"{result.num_correct['token']} of {result.num_examples} right"
    if result.written is not None:
        number = f"{result.num_examples} written"
    return (
        f"template {result.template}, '{result.name}', seed {record.seed}{_order(record)}\n"
        f"{score}, {number}\n"
        f"record {record.id}"
    )


def _order(record: Record) -> str:
    order = setting.order(record)
    return f", order {order}" if order else ""


def _label(row: Row, has_models: bool, has_shots: bool) -> str:
    """Name a row in little room: its model where the table has several, its shots where others of its kind differ."""
    parts = [row.method, str(row.num_shots) if row.is_icl or (row.is_tuned and has_shots) else "", names.short(row)]
    if has_models:
        parts.append(row.model.rpartition("/")[2])
    text = " ".join(part for part in parts if part)
    return text if len(text) <= 22 else text[:20] + ".."


def _axis(task: Task, bands: Iterable[Band], metric: Scale) -> Axis:
    values = [answer.score for band in bands for answer in band.answers] + [task.chance]
    unit = magnitude(values)
    low, high = unit * math.floor(10 * min(values) / unit) / 10, unit * math.ceil(10 * max(values) / unit) / 10
    low, high = max(low - 0.02 * unit, metric.lowest - 0.02 * unit), min(high + 0.02 * unit, 1.02)
    step = unit * (0.1 if high - low < 0.6 * unit else 0.2)
    first = math.ceil(low / step)
    ticks = [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(heading(metric), "linear", low, high, tuple((value, tick(value)) for value in ticks))
