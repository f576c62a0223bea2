"""The fields of a row in one list: tables of text, pages, CSV, JSON, its schema, and frames are made from it.

A new fact is computed in `table.py` and named here; docs/records.md and the schema follow by `make render`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

from peftbench import registry
from peftbench.metrics.base import Scale
from peftbench.report.rows import names, setting, texts, units
from peftbench.report.rows.field import Field, Heading, TaskField
from peftbench.report.rows.metric import ACCURACY, has_accuracy_beside, has_chance, heading, wrapped
from peftbench.report.rows.table import Interval, Row, Table, Task
from peftbench.report.rows.units import Range

METHOD_WIDTH, MODEL_WIDTH = 13, 8
"""Characters beyond which names may fold: the longest method's, and enough for an embedded model's."""


def rounded(value: float | None) -> float | None:
    """Drop the last binary digits, so that equal records give equal files."""
    return value if value is None else round(value, 10)


def _both(ends: Interval | None) -> list[float | None] | None:
    return ends and [rounded(end) for end in ends]


def _span(numbers: Range | None) -> str | None:
    return None if numbers is None else units.span(numbers)


def _cost(name: str) -> Callable[[Row], float | None]:
    return lambda row: row.cost(name)


def _flops(name: str, title: str, hint: str, unit: str = "FLOPs", heading: Heading | None = None) -> Field:
    return Field(
        name,
        value=_cost(name),
        title=title,
        unit=unit,
        hint=hint,
        text=lambda row: texts.flops(row, name),
        sort_by=_cost(name),
        heading=heading,
    )


SETTINGS = (
    Field(
        "method",
        value=lambda row: row.method,
        type=str,
        about="zero-shot, ICL, or the method that tuned",
        of_record=setting.method,
        title="method",
        hint="zero-shot, ICL, or the method that tuned",
        text=names.method,
        is_key=True,
        heading=Heading(("method",), fold_at=METHOD_WIDTH),
    ),
    Field(
        "variant",
        value=names.settings,
        type=str,
        about="what tells it from other rows of this method, model and shots; mostly empty",
    ),
    Field(
        "model",
        value=lambda row: row.model,
        type=str,
        of_record=lambda record: record.model.name,
        title="model",
        hint="the frozen backbone",
        text=lambda row: row.model,
        is_key=True,
        heading=Heading(("model",), fold_at=MODEL_WIDTH),
    ),
    Field(
        "shots",
        value=names.shots,
        type=str,
        about="32; or 24 of 32 where fewer fitted",
        of_record=setting.shots,
        title="shots",
        hint="labelled examples, as asked for",
        text=names.shots,
        sort_by=lambda row: row.num_shots,
        is_key=True,
        heading=Heading(("shots",)),
    ),
    Field(
        "source",
        value=lambda row: "published" if row.published else "records",
        type=Literal["records", "published"],
        hint="records of one's own, or published",
    ),
)
"""What says which row it is."""


MODEL = (
    Field(
        "num_parameters",
        value=lambda row: row.num_parameters,
        type=int | None,
        hint="of the frozen backbone",
        of_record=lambda record: record.model.num_parameters,
    ),
)
"""Of the backbone."""


COSTS = (
    _flops(
        "inference_flops_per_example",
        "inference",
        "floating-point operations of one query; a multiply-add is two; ~ estimated",
        unit="FLOPs/example",
        heading=Heading(("inference", "FLOPs/ex.")),
    ),
    _flops(
        "cached_inference_flops_per_example",
        "cached",
        "the same with the shots' keys and values read from a cache",
        unit="FLOPs/example",
    ),
    _flops("cache_flops", "", "filling that cache"),
    _flops(
        "training_flops",
        "training",
        "floating-point operations of the whole training; ~ estimated by the paper's rule",
        heading=Heading(("training", "FLOPs")),
    ),
    Field(
        "disk_bytes",
        value=_cost("disk_bytes"),
        title="disk",
        unit="bytes",
        hint="what has to be kept for the task; kB, MB, GB are powers of ten",
        text=lambda row: units.size(row.cost("disk_bytes")),
        sort_by=_cost("disk_bytes"),
        heading=Heading(("disk",)),
    ),
)
"""Costs that are counted."""


PARAMETERS = (
    Field(
        "num_trained_parameters",
        value=lambda row: row.num_trained_parameters,
        type=int | None,
        of_record=lambda record: record.learned.num_trained_parameters,
        title="trained",
        unit="parameters",
        hint="parameters that are trained and saved, and their share of the model's",
        text=texts.trained,
        sort_by=lambda row: row.num_trained_parameters,
        heading=Heading(("trained", "params")),
    ),
    Field(
        "num_saved_parameters",
        value=lambda row: row.num_saved_parameters,
        type=int | None,
        about="kept and used after training; null where no record says it",
        of_record=lambda record: record.learned.num_saved_parameters,
    ),
    Field(
        "num_unreached_parameters",
        value=lambda row: row.num_unreached_parameters,
        type=int | None,
        about="of the trained, those that never got a gradient",
        of_record=lambda record: record.learned.num_unreached_parameters,
    ),
)
"""What was trained."""


CLOCK = (
    Field(
        "learn_seconds",
        value=_cost("learn_seconds"),
        title="learning",
        unit="seconds",
        hint="wall time of learning, on the machine that ran it: mean over tasks and seeds",
        text=texts.seconds,
        sort_by=_cost("learn_seconds"),
    ),
)
"""Costs that are measured."""


COUNTS = (
    Field(
        "num_examples",
        value=lambda row: row.num_examples,
        type=int | None,
        about="of all tasks",
        title="n",
        unit="examples",
        hint="over all tasks",
        text=lambda row: units.count(row.num_examples),
        sort_by=lambda row: row.num_examples,
        is_count=True,
        heading=Heading(("n",)),
    ),
    Field(
        "num_seeds",
        value=lambda row: _span(row.num_seeds),
        type=str | None,
        about="5; or 3-5 where tasks differ",
    ),
    Field(
        "num_orders",
        value=lambda row: _span(row.num_orders),
        type=str | None,
        about="1; or 4, of the same shots",
    ),
    Field(
        "num_templates",
        value=lambda row: _span(row.num_templates),
        type=str | None,
        about="4; or 3-4 where tasks differ",
    ),
)
"""Over how many the scores are."""


BESIDE = Field(
    "accuracy_median",
    value=lambda row: rounded(row.accuracy),
    type=float | None,
    about="mean over tasks of the median accuracy over templates x seeds; where the score is another metric",
    title=ACCURACY,
    unit="%",
    hint="beside the metric: median over templates x seeds; over several tasks the mean of their medians",
    text=lambda row: units.ABSENT if row.accuracy is None else units.percent(row.accuracy),
    sort_by=lambda row: row.accuracy,
    best_is_high=True,
    is_beside=True,
    heading=Heading((ACCURACY, "%"), spare=2),
)
"""Accuracy beside another metric; where it is the score, it is `score_median`."""


def _all(metric: Scale) -> list[Field]:
    of_row = [*SETTINGS, *MODEL, *COSTS, *PARAMETERS, *CLOCK]
    return [*of_row, *_scores(metric), *COUNTS, _chance(metric), BESIDE, *_pooled()]


def of_metric(metric: Scale) -> list[Field]:
    """List the fields of rows whose score is this metric."""
    return [field for field in _all(metric) if not field.is_beside or has_accuracy_beside(metric)]


def on_task(metric: Scale) -> list[TaskField]:
    """List the fields of such a row on one task."""
    return [field for field in ON_TASK if not field.is_beside or has_accuracy_beside(metric)]


def _scores(metric: Scale) -> Iterator[Field]:
    """List what a row has of its metric."""
    yield Field(
        "score_median",
        value=lambda row: rounded(row.score),
        type=float,
        about="mean over tasks of the median over templates x seeds",
        title=metric.title,
        unit=metric.unit,
        hint="median over templates x seeds; over several tasks the mean of their medians",
        text=lambda row: units.percent(row.score, metric.decimals),
        sort_by=lambda row: row.score,
        best_is_high=metric.higher_is_better,
        heading=Heading((*wrapped(heading(metric)), "(IQR)"), spread=_iqr),
    )
    yield Field(
        "score_iqr",
        value=lambda row: rounded(row.iqr),
        type=float | None,
        about="mean over tasks of the interquartile range",
        title="IQR",
        unit=metric.difference_unit,
        hint="interquartile range over templates x seeds",
        text=lambda row: _iqr(row) or units.ABSENT,
        sort_by=lambda row: row.iqr,
    )
    yield Field(
        "score_interval",
        value=lambda row: _both(row.interval),
        type=Interval | None,
        about="95 %, cluster bootstrap over examples in tasks",
        title="interval",
        unit="95 %",
        hint=f"of the {metric.title}: cluster bootstrap over examples",
        text=lambda row: texts.interval(row.interval, metric.decimals),
        sort_by=lambda row: row.interval[0] if row.interval else None,
        best_is_high=metric.higher_is_better,
        heading=Heading(("95 %", "interval"), spare=1),
    )


def _iqr(row: Row) -> str:
    return "" if row.iqr is None else units.percent(row.iqr, row.metric.decimals)


def _chance(metric: Scale) -> Field:
    return Field(
        "chance",
        value=lambda row: rounded(row.chance),
        type=float | None,
        about="score of guessing, of written answers that of empty ones, mean over tasks",
        of_record=lambda record: record.task.chance,
        title="chance",
        unit=metric.unit,
        hint=f"{metric.title} of guessing",
        text=lambda row: units.ABSENT if row.chance is None else units.percent(row.chance, metric.decimals),
        sort_by=lambda row: row.chance,
        is_shown=lambda rows: has_chance(metric),
        heading=Heading(("chance",)),
    )


def _pooled() -> Iterator[Field]:
    """List over how many medians are taken in one field: with the orders of the shots where rows have several."""
    for title, lines, has_orders in (
        ("seeds x templates", ("seeds x", "templ."), False),
        ("seeds x orders x templates", ("seeds x", "orders x", "templ."), True),
    ):
        text = texts.pool_with_orders if has_orders else texts.pool
        yield Field(
            "pooled",
            value=text,
            title=title,
            hint="over which medians are taken",
            text=text,
            is_count=True,
            is_shown=partial(_have_orders, has_orders),
            heading=Heading(lines),
        )


def _have_orders(expected: bool, rows: Sequence[Row]) -> bool:
    return texts.have_orders(rows) == expected


def of_tasks(table: Table) -> list[Field]:
    """List a field for each task of a table, the keys before them."""
    keys = [field for field in of_metric(table.metric) if field.is_key]
    return [*keys, *(_of_task(task, table.metric) for task in table.tasks)]


def _of_task(task: Task, metric: Scale) -> Field:
    number = f"n {task.num_examples:,}"
    facts = [f"chance {units.percent(task.chance, metric.decimals)}", number] if has_chance(metric) else [number]

    def median(row: Row) -> str:
        return units.percent(row.spreads[task].median, metric.decimals)

    def iqr(row: Row) -> str:
        spread = row.spreads[task].iqr
        return "" if spread is None else units.percent(spread, metric.decimals)

    return Field(
        task.name,
        value=lambda row: row.spreads[task].median,
        title=task.name,
        unit=metric.unit,
        hint=", ".join(facts),
        text=lambda row: f"{median(row)} ({iqr(row)})" if iqr(row) else median(row),
        sort_by=lambda row: row.spreads[task].median,
        best_is_high=metric.higher_is_better,
        heading=Heading((task.name, *facts), text=median, spread=iqr),
    )


ON_TASK = (
    TaskField("task", lambda task, _: task.name, str),
    TaskField(
        "score_median",
        lambda _, spread: rounded(spread.median),
        float,
        "over templates x seeds x orders of the shots",
    ),
    TaskField(
        "score_iqr",
        lambda _, spread: rounded(spread.iqr),
        float | None,
        "interquartile range over the same; null for one value",
    ),
    TaskField(
        "score_interval",
        lambda _, spread: _both(spread.interval),
        Interval | None,
        "95 %, cluster bootstrap over examples",
    ),
    TaskField(
        "is_stratified",
        lambda _, spread: spread.is_stratified,
        bool,
        "whether rows are drawn within each label, whose counts are fixed",
    ),
    TaskField("why_no_interval", lambda _, spread: spread.why_no_interval, str | None),
    TaskField("num_examples", lambda task, _: task.num_examples),
    TaskField("num_seeds", lambda _, spread: spread.num_seeds or None, int | None),
    TaskField(
        "num_orders",
        lambda _, spread: spread.num_orders if spread.records else None,
        int | None,
        "orders in which the same shots stood",
    ),
    TaskField("num_templates", lambda _, spread: spread.num_templates or None, int | None),
    TaskField("chance", lambda task, _: task.chance),
    TaskField(
        BESIDE.name,
        lambda _, spread: rounded(spread.accuracy),
        float | None,
        "over templates x seeds x orders of the shots; where the score is another metric",
        is_beside=True,
    ),
    TaskField(
        "records",
        lambda _, spread: [name for record in spread.records for name in record.ids],
        list[str],
        "ids of the records; empty where published",
    ),
)
"""The fields of a row on one task, those that not every row has among them."""

FIELDS = _all(registry.metric(ACCURACY))
"""The fields of a row over its tasks, likewise; their names, values and types are those of every metric."""


def shown(rows: Sequence[Row]) -> list[Field]:
    """List the fields that a page or a table of text may show for some rows of one table, counts last."""
    fields = [field for field in of_metric(rows[0].metric) if field.is_shown(rows)]
    return sorted(fields, key=lambda field: field.is_count)


def summary(table: Table) -> list[Field]:
    """List the fields that a page shows; what is empty in all rows is left out."""
    fields = [field for field in shown(table.rows) if field.title]
    return [
        field for field in fields if field.sort_by is None or any(field.sort_by(row) is not None for row in table.rows)
    ]


def per_task(table: Table) -> list[Field]:
    """List a field for each task; none where there is one task only."""
    return of_tasks(table) if len(table.tasks) > 1 else []
