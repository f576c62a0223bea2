"""What a table's rows have, one by one: how it is called, written and sorted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from peftbench.errors import RecordError
from peftbench.registry import known
from peftbench.report.formats import columns
from peftbench.report.rows import units
from peftbench.report.rows.table import Row, Table, Task

ACCURACY = "median over templates x seeds; over several tasks the mean of their medians"
HINTS = {
    "inference_flops_per_example": "floating-point operations of one query; a multiply-add is two; ~ estimated",
    "cached_inference_flops_per_example": "the same with the shots' keys and values read from a cache",
    "training_flops": "floating-point operations of the whole training; ~ estimated by the paper's rule",
    "disk_bytes": "what has to be kept for the task; kB, MB, GB are powers of ten",
    "learn_seconds": "wall time of learning, on the machine that ran it: mean over tasks and seeds",
}


@dataclass(frozen=True)
class Field:
    """What a row has one of: a column that can be sorted by.

    Args:
        title: One word or two.
        unit: Of the value, or "".
        hint: One line on what it is.
        text: Writes it.
        value: What it is sorted by; its text where there is none.
        best_is_high: Whether more of it is better.
    """

    title: str
    unit: str
    hint: str
    text: Callable[[Row], str]
    value: Callable[[Row], float | None] | None = None
    best_is_high: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it holds words."""
        return self.value is None


def summary(table: Table) -> list[Field]:
    """Give the fields of a table's rows; one that is empty in all of them is left out."""
    every = [*_keys(), *_costs(), *_accuracies(table)]
    return [one for one in every if one.is_text or any(one.value(row) is not None for row in table.rows if one.value)]


def per_task(table: Table) -> list[Field]:
    """Give a field for each task; none where there is one task only."""
    return [*_keys(), *_tasks(table)] if len(table.tasks) > 1 else []


def ordered(tables: Sequence[Table], name: str) -> list[Table]:
    """Sort the rows of each table by a field: accuracies best first, anything else lowest first, what is absent last.

    Args:
        tables: Those that lack the field stay as they are.
        name: A field's title.

    Raises:
        RecordError: No table has it.
    """
    found = [{one.title: one for one in (*summary(table), *per_task(table))} for table in tables]
    known(name, dict.fromkeys(title for titles in found for title in titles), "column", RecordError)
    return [
        _ordered(table, titles[name]) if name in titles else table for table, titles in zip(tables, found, strict=True)
    ]


def _ordered(table: Table, one: Field) -> Table:
    if one.value is None:
        return replace(table, rows=tuple(sorted(table.rows, key=one.text)))
    values = [(row, one.value(row)) for row in table.rows]
    present = sorted(((row, value) for row, value in values if value is not None), key=lambda pair: pair[1])
    rows = [row for row, _ in (reversed(present) if one.best_is_high else present)]
    return replace(table, rows=(*rows, *(row for row, value in values if value is None)))


def _keys() -> Iterator[Field]:
    yield Field("method", "", "zero-shot, ICL, or the method that tuned", columns.method)
    yield Field("model", "", "the frozen backbone", lambda row: row.model)
    yield Field("shots", "", "labelled examples, as asked for", lambda row: row.shots, lambda row: row.num_shots)


def _costs() -> Iterator[Field]:
    for title, unit, name in (
        ("inference", "FLOPs/example", "inference_flops_per_example"),
        ("cached", "FLOPs/example", "cached_inference_flops_per_example"),
        ("training", "FLOPs", "training_flops"),
    ):
        yield Field(title, unit, HINTS[name], _flops(name), _cost(name))
    yield Field(
        "disk", "bytes", HINTS["disk_bytes"], lambda row: units.size(row.cost("disk_bytes")), _cost("disk_bytes")
    )
    yield Field(
        "trained",
        "parameters",
        "parameters that are trained and saved, and their share of the model's",
        columns.trained,
        lambda row: row.num_trained_parameters,
    )
    yield Field("learning", "seconds", HINTS["learn_seconds"], _seconds, _cost("learn_seconds"))


def _accuracies(table: Table) -> Iterator[Field]:
    yield Field("accuracy", "%", ACCURACY, lambda row: units.percent(row.accuracy), lambda row: row.accuracy, True)
    yield Field("IQR", "points", "interquartile range over templates x seeds", _iqr, lambda row: row.iqr)
    yield Field(
        "interval",
        "95 %",
        "of the accuracy: cluster bootstrap over examples",
        lambda row: columns.interval(row.interval),
        lambda row: row.interval[0] if row.interval else None,
        best_is_high=True,
    )
    yield Field("chance", "%", "share right by guessing", _chance, lambda row: row.chance)
    yield Field(
        "n", "examples", "over all tasks", lambda row: units.count(row.num_examples), lambda row: row.num_examples
    )
    pooled = "seeds x orders x templates" if columns.have_orders(table.rows) else "seeds x templates"
    yield Field(pooled, "", "over which medians are taken", lambda row: columns.pool(row, table.rows))


def _tasks(table: Table) -> Iterator[Field]:
    for task in table.tasks:
        hint = f"chance {units.percent(task.chance)}, n {task.num_examples:,}"
        yield Field(
            task.name,
            "%",
            hint,
            _spread_of(task),
            _median_of(task),
            best_is_high=True,
        )


def _cost(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.cost(name)


def _spread_of(task: Task) -> Callable[[Row], str]:
    return lambda row: columns.spread(row.spreads[task])


def _median_of(task: Task) -> Callable[[Row], float | None]:
    return lambda row: row.spreads[task].median


def _flops(name: str) -> Callable[[Row], str]:
    return lambda row: columns.flops(row, name)


def _seconds(row: Row) -> str:
    seconds = row.cost("learn_seconds")
    return units.ABSENT if seconds is None else f"{seconds:.1f}"


def _iqr(row: Row) -> str:
    return units.ABSENT if row.iqr is None else units.percent(row.iqr)


def _chance(row: Row) -> str:
    return units.ABSENT if row.chance is None else units.percent(row.chance)
