"""Outputs that records keep, scored anew -> the same rows under other metrics, task by task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from peftbench.errors import RecordError
from peftbench.metrics.text import TextMetric
from peftbench.report.evidence.answers import AGAIN
from peftbench.report.rows import folds
from peftbench.report.rows.select import Stored
from peftbench.report.rows.table import Table, build, common_model
from peftbench.store.record import Record, TemplateResult
from peftbench.tasks.text_rows import value_of_nothing

if TYPE_CHECKING:
    import pandas as pd

References = Mapping[int, Sequence[str]]
"""Of each row of a task, by its number."""


@dataclass(frozen=True)
class Group:
    """Records of one task's same rows.

    Args:
        name: The task's.
        sha256: Of its rows and templates.
        num_examples: That each record has, of each template.
        is_split: Whether they are joined from folds, so that the rows are training rows.
        stored: The records.
    """

    name: str
    sha256: str
    num_examples: int
    is_split: bool
    stored: tuple[Stored, ...]


@dataclass(frozen=True)
class Scored:
    """Rows on one task under several metrics.

    Args:
        plain: Under the task's own metric.
        tables: Under each metric that could be counted, in the order that was asked for.
        left_out: Why others could not, in words.
    """

    plain: Table
    tables: tuple[Table, ...]
    left_out: tuple[str, ...]


def groups(stored: Sequence[Stored]) -> list[Group]:
    """Put records of written answers together whose values may stand in one column, in the order of their names.

    Splits that lack a fold are left out.
    """
    by_rows: dict[tuple[str, int, str, bool], list[Stored]] = {}
    for part in stored:
        record = part.record
        if record.results[0].written is None or folds.is_fold(record):
            continue
        key = (record.task.name, record.results[0].num_examples, record.task.sha256, bool(part.folds))
        by_rows.setdefault(key, []).append(part)
    return [
        Group(name, sha256, num_examples, is_split, tuple(by_rows[name, num_examples, sha256, is_split]))
        for name, num_examples, sha256, is_split in sorted(by_rows)
    ]


def score(
    group: Group, references: References, metrics: Sequence[TextMetric], advance: Callable[[], None] = lambda: None
) -> Scored:
    """Score the outputs of a task's records by each metric.

    A metric that is of all rows is left out where the records have a part of them.

    Args:
        group: The records.
        references: Of all rows of the task.
        metrics: In the order of the columns.
        advance: Called for each record and metric.

    Raises:
        RecordError: Outputs are missing, damaged or of other rows.
        PeftbenchError: What a metric counts with is not installed.
    """
    is_part = group.num_examples < len(references)
    counted = [metric for metric in metrics if not (is_part and metric.needs_all)]
    records: dict[str, list[Record]] = {metric.name: [] for metric in counted}
    for stored in group.stored:
        outputs = _outputs(stored, references)
        for metric in counted:
            records[metric.name].append(_under(metric, stored.record, outputs, references))
            advance()
    plain = _table(group, [stored.record for stored in group.stored])
    left_out = tuple(
        f"{group.name}: {metric.title} is of all {len(references):,} rows, and these records have "
        f"{group.num_examples:,}: {metric.needs_all}"
        for metric in metrics
        if metric not in counted
    )
    return Scored(plain, tuple(_table(group, records[metric.name]) for metric in counted), left_out)


def _table(group: Group, records: Sequence[Record]) -> Table:
    (table,) = build(records)
    model = common_model(table.rows)
    title = f"Task: {group.name}; {group.num_examples:,} rows" + (f"; model: {model}" if model else "")
    return replace(table, title=title)


def _outputs(stored: Stored, references: References) -> "pd.Series[str]":
    """Read what was written, by template and row.

    Raises:
        RecordError: It is missing, damaged, or not of all rows that the record has.
    """
    import pandas as pd

    if stored.folds:
        return pd.concat([_outputs(fold, references) for fold in stored.folds]).sort_index()
    record, path = stored.record, stored.store.scores_file(stored.record.id)
    if not path.exists():
        raise RecordError(f"the outputs of record {record.id} are missing: no '{path}'", hint=AGAIN)
    try:
        table = stored.store.read_scores(record.id).set_index(["template", "row_id"]).sort_index()
        outputs = table["output"].astype(str)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise RecordError(f"the outputs of record {record.id}, '{path}', are damaged: {why}", hint=AGAIN) from None
    numbers = {result.template: result.num_examples for result in record.results}
    if outputs.groupby(level="template").size().to_dict() != numbers or not references.keys() >= set(
        outputs.index.get_level_values("row_id")
    ):
        raise RecordError(f"the outputs of record {record.id}, '{path}', are not those of its rows", hint=AGAIN)
    return outputs


def _under(metric: TextMetric, record: Record, outputs: "pd.Series[str]", references: References) -> Record:
    """Return a record as it would be if its task's metric were another one."""
    by_template = dict(iter(outputs.droplevel("template").groupby(outputs.index.get_level_values("template"))))
    results = [_scored(metric, result, by_template[result.template], references) for result in record.results]
    task = record.task.model_copy(update={"metric": metric.name, "chance": value_of_nothing(metric.name)})
    return record.model_copy(update={"task": task, "results": results})


def _scored(
    metric: TextMetric, result: TemplateResult, outputs: "pd.Series[str]", references: References
) -> TemplateResult:
    statistics = metric.statistics_of(outputs.tolist(), [references[row] for row in outputs.index])
    assert result.written is not None
    value = metric.of_sums(statistics.sum(0))
    changes = {"value": value, "scale": metric.scale, "statistics": statistics.tolist()}
    return result.model_copy(update={"written": result.written.model_copy(update=changes)})
