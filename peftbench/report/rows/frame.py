"""Records as one pandas frame, for notebooks."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftbench.report.rows import setting
from peftbench.report.rows.select import shots
from peftbench.report.rows.table import COLUMNS
from peftbench.store.record import Record
from peftbench.store.results import Store

if TYPE_CHECKING:
    import pandas as pd


def frame(*folders: str | Path) -> "pd.DataFrame":
    """Read the records of some results folders: one row for each record and template.

    `frame().groupby(["task", "method", "model", "shots"])["accuracy"].median()` is what the report shows.

    Args:
        folders: Results folders; "results" if none is given. A record that is in several of them counts once.

    Returns:
        Columns: record, created_at, method, model, num_parameters, task, task_sha256, chance, shots (asked for),
        num_shots (used), seed, order (of the shots; 0 is that of the draw), template, template_name, num_examples,
        accuracy (per token, 0 to 1), accuracy_char, accuracy_byte, accuracy_none, num_trained_parameters, and each
        cost of the report in its unit with its kind in NAME_kind: all templates of a record share those. What is
        absent is NaN or None.

    Raises:
        RecordError: Some records cannot be read.
    """
    import pandas as pd

    stores = [Store(Path(folder)) for folder in folders or ("results",)]
    records = {record.id: record for store in stores for record in store.all()}
    return pd.DataFrame(_rows(records.values()), columns=_columns())


def _columns() -> list[str]:
    costs = [column for name in COLUMNS for column in (name, f"{name}_kind")]
    told = (
        "record created_at method model num_parameters task task_sha256 chance shots num_shots seed order template "
        "template_name num_examples accuracy accuracy_char accuracy_byte accuracy_none num_trained_parameters"
    )
    return [*told.split(), *costs]


def _rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [row for record in records for row in _of_record(record)]


def _of_record(record: Record) -> Sequence[dict[str, Any]]:
    shared = {
        "record": record.id,
        "created_at": record.created_at,
        "method": setting.method(record),
        "model": record.model.name,
        "num_parameters": record.model.num_parameters,
        "task": record.task.name,
        "task_sha256": record.task.sha256,
        "chance": record.task.chance,
        "shots": shots(record),
        "seed": record.seed,
        "order": setting.order(record),
        "num_trained_parameters": record.learned.num_trained_parameters,
        **_costs(record),
    }
    return [
        shared
        | {
            "num_shots": num_shots,
            "template": result.template,
            "template_name": result.name,
            "num_examples": result.num_examples,
            "accuracy": result.accuracy(),
        }
        | {f"accuracy_{by}": result.accuracy(by) for by in result.num_correct if by != "token"}
        for result, num_shots in zip(record.results, record.num_shots, strict=True)
    ]


def _costs(record: Record) -> dict[str, Any]:
    """Take each cost in the best kind that the record has, as the report does."""
    found: dict[str, Any] = {}
    for name, kinds in COLUMNS.items():
        cost = next((cost for kind in kinds if (cost := record.cost(name, kind))), None)
        found |= {name: cost and cost.value, f"{name}_kind": cost and cost.kind}
    return found
