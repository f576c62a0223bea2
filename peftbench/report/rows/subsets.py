"""Scores on parts of a task's test rows, beside that on all of them: WebNLG's seen and unseen categories."""

import statistics
from collections.abc import Iterator

from peftbench import registry
from peftbench.report.rows import units
from peftbench.report.rows.field import Field, Heading
from peftbench.report.rows.table import Row, Table, Task
from peftbench.store.record import TemplateResult


def of_tasks(table: Table) -> list[Field]:
    """List a field for each subset of each task; none of tasks whose records do not all have the same subsets."""
    return [field for task in table.tasks for field in _of_task(table, task)]


def _of_task(table: Table, task: Task) -> Iterator[Field]:
    of_rows = [[record.task.subsets or {} for record in row.spreads[task].records] for row in table.rows]
    shared = of_rows[0][0] if of_rows[0] else {}
    if all(subsets and all(part == shared for part in subsets) for subsets in of_rows):
        for name, text in shared.items():
            yield _of_subset(task, name, [int(place) for place in text.split()])


def _of_subset(task: Task, name: str, places: list[int]) -> Field:
    def median(row: Row) -> float:
        results = [result for record in row.spreads[task].records for result in record.results]
        return statistics.median(value(task.metric, result, places) for result in results)

    number = f"n {len(places):,}"
    return Field(
        f"{task.name}_{name}",
        value=median,
        title=f"{task.name}, {name}",
        unit=registry.scale(task.metric).unit,
        hint=number,
        text=lambda row: units.percent(median(row)),
        heading=Heading((task.name, name, number)),
    )


def value(metric: str, result: TemplateResult, places: list[int]) -> float:
    """Compute the metric of some examples' written answers, in hundredths of what tables show.

    f(sum_i s_i), i among the places: what is made from sums over all rows, as BLEU, is no mean over the parts.
    """
    assert result.written is not None
    chosen = [result.written.statistics[place] for place in places]
    sums = [sum(column) for column in zip(*chosen, strict=True)]
    return registry.text_metric(metric).of_sums(sums) * result.written.scale / 100
