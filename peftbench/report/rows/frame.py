"""Records as one pandas frame, for notebooks."""

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftbench.report.rows import costs, setting
from peftbench.report.rows.fields import FIELDS
from peftbench.report.rows.folds import join
from peftbench.store.record import Record
from peftbench.store.results import Store

if TYPE_CHECKING:
    import pandas as pd

OF_RECORD = ("record", "created_at", "task", "task_sha256", "metric", "seed", "order")
OF_TEMPLATE = ("num_shots", "template", "template_name", "num_examples", "score", "accuracy")
NORMALIZATIONS = ("char", "byte", "none")


def frame(*folders: str | Path) -> "pd.DataFrame":
    """Read the records of some results folders: one row for each record and template.

    `frame().groupby(["task", "method", "model", "shots"])["score"].median()` is what the report shows.

    Args:
        folders: Results folders; "results" if none is given. A record that is in several of them counts once. Those of
            the folds of a split are joined to one; of a split that is not complete there is a warning.

    Returns:
        Columns: record, created_at, task, task_sha256, metric (the task's), seed, order (of the shots; 0 is that of the
        draw); what of the report's fields a single record has (docs/records.md marks them; shots are those that were
        asked for); num_shots (used), template, template_name, num_examples, score (the metric's value, per token, as a
        fraction of 1), accuracy (per token, 0 to 1), accuracy_char, accuracy_byte, accuracy_none; and each cost of the
        report in its unit with its kind in NAME_kind: all templates of a record share those. What is absent is NaN or
        None.

    Raises:
        RecordError: Some records cannot be read.
    """
    import pandas as pd

    stores = [Store(Path(folder)) for folder in folders or ("results",)]
    records, left_out = join(list({record.id: record for store in stores for record in store.all()}.values()))
    for reason in left_out:
        warnings.warn(f"left out: {reason}", stacklevel=2)
    return pd.DataFrame(_rows(records), columns=_columns())


def _columns() -> list[str]:
    fields = [field.name for field in FIELDS if field.of_record]
    scores = [*OF_TEMPLATE, *(f"accuracy_{name}" for name in NORMALIZATIONS)]
    return [*OF_RECORD, *fields, *scores, *(column for name in costs.KINDS for column in (name, f"{name}_kind"))]


def _rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [row for record in records for row in _of_record(record)]


def _of_record(record: Record) -> Iterator[dict[str, Any]]:
    """Make a row for each template."""
    shared = {
        "record": record.id,
        "created_at": record.created_at,
        "task": record.task.name,
        "task_sha256": record.task.sha256,
        "metric": record.metric,
        "seed": record.seed,
        "order": setting.order(record),
        **{field.name: field.of_record(record) for field in FIELDS if field.of_record},
        **_costs(record),
    }
    for result, num_shots in zip(record.results, record.num_shots, strict=True):
        others = {f"accuracy_{name}": result.accuracy(name) for name in result.num_correct if name != "token"}
        yield (
            shared
            | others
            | {
                "num_shots": num_shots,
                "template": result.template,
                "template_name": result.name,
                "num_examples": result.num_examples,
                "score": result.value(),
                "accuracy": None if result.written else result.accuracy(),
            }
        )


def _costs(record: Record) -> dict[str, Any]:
    """Return each cost in the best kind that the record has, as the report does."""
    cells: dict[str, Any] = {}
    for name, cost in costs.of_record(record).items():
        cells |= {name: cost and cost.value, f"{name}_kind": cost and cost.kind}
    return cells
