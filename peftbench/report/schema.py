"""What `peftbench report --format json` gives, field by field.

Shares (accuracies, chance, intervals) are from 0 to 1; FLOPs, bytes, seconds and parameters are plain numbers; null is
what is absent. `docs/report.schema.json` is made from here.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

# pydantic asks for this one below Python 3.12.
from typing_extensions import TypedDict

SCHEMA_VERSION = 1
"""Changes when a field goes away or changes its meaning; new fields may come without."""


def _is(description: str) -> Any:
    return Field(description=description)


class Strict(TypedDict):
    """An object without other fields."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]


class TaskFields(Strict):
    """A task as it was evaluated: the same rows, templates and number of examples."""

    name: str
    chance: Annotated[float, _is("share right by guessing")]
    num_examples: int
    sha256: Annotated[str, _is("of its rows and templates; empty where published")]


class SpreadFields(Strict):
    """A row on one task."""

    task: str
    accuracy_median: Annotated[float, _is("over templates x seeds")]
    accuracy_iqr: Annotated[float | None, _is("interquartile range over templates x seeds; null for one value")]
    accuracy_interval: Annotated[tuple[float, float] | None, _is("95 %, cluster bootstrap over examples")]
    num_seeds: int | None
    num_templates: int | None
    records: Annotated[list[str], _is("ids of the records; empty where published")]


class CostFields(Strict):
    """A cost, mean over the row's tasks of the mean over seeds."""

    name: str
    value: Annotated[float | int | None, _is("null where it could not be had; `reason` says why")]
    unit: Annotated[str, _is("FLOPs, bytes or seconds")]
    kind: Literal["estimated", "counted", "traced", "measured"]
    convention: Annotated[str, _is("how it was counted")]
    reason: str | None


class RowFields(Strict):
    """One way of learning on one model with one number of shots; accuracies are means over the table's tasks."""

    method: Annotated[str, _is("zero-shot, ICL, or the method that tuned")]
    variant: Annotated[str, _is("what tells it from other rows of this method, model and shots; mostly empty")]
    model: str
    shots: Annotated[str, _is("32; or 24 of 32 where fewer fitted")]
    source: Literal["records", "published"]
    num_parameters: int | None
    num_trained_parameters: int | None
    accuracy_median: Annotated[float, _is("mean over tasks of the median over templates x seeds")]
    accuracy_iqr: Annotated[float | None, _is("mean over tasks of the interquartile range")]
    accuracy_interval: Annotated[tuple[float, float] | None, _is("95 %, cluster bootstrap over examples in tasks")]
    num_examples: Annotated[int | None, _is("of all tasks")]
    num_seeds: Annotated[str | None, _is("5; or 3-5 where tasks differ")]
    num_templates: Annotated[str | None, _is("4; or 3-4 where tasks differ")]
    chance: Annotated[float | None, _is("mean over tasks")]
    tasks: list[SpreadFields]
    costs: list[CostFields]


class TableFields(Strict):
    """Rows that all cover the same tasks."""

    title: str
    tasks: list[TaskFields]
    rows: list[RowFields]


class ReportFields(Strict):
    """A whole report."""

    schema_version: Literal[1]
    tables: list[TableFields]
    findings: Annotated[list[str], _is("what follows from the rows, and what must not be read into them")]
    conventions: Annotated[list[str], _is("how the numbers were had")]


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of a report."""
    return TypeAdapter(ReportFields).json_schema()


def check(report: Any) -> None:
    """Make sure that a report, as read from JSON, is one.

    Raises:
        ValidationError: pydantic's; a field is missing, unknown or of another type.
    """
    TypeAdapter(ReportFields).validate_json(report, strict=True)
