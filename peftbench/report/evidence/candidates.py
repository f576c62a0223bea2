"""A table of one task -> what may be chosen, with the answers to each row of the task that were right."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftbench.errors import RecordError
from peftbench.report.evidence import selection
from peftbench.report.evidence.clusters import Clusters
from peftbench.report.rows import confidence, names, strata
from peftbench.report.rows.curves import curves
from peftbench.report.rows.table import Interval, Row, Table
from peftbench.store.record import Record

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Candidate:
    """A row of the report, as something to choose.

    Args:
        right: (rows,) float64; of the templates and seeds under which the task's row was answered, the share with the
            right answer.
        num_answers: Templates times seeds.
        by_seed: Its accuracy with each seed alone.
        interval: Of its accuracy, 95 %, as if it were no choice among several.
    """

    row: Row
    right: "np.ndarray"
    num_answers: int
    by_seed: tuple[float, ...]
    interval: Interval

    @property
    def accuracy(self) -> float:
        """Mean over rows, templates and seeds."""
        return float(self.right.mean())


def candidates(table: Table) -> tuple[list[Candidate], list[str]]:
    """Read what may be chosen, and in words what may not, in the order of the table.

    What was tuned on fewer rows than another row of its learning curve is nothing to choose: it is there for the curve.

    Raises:
        RecordError: The table is of several tasks, or nothing in it may be chosen.
    """
    if len(table.tasks) > 1 or table.is_mixture:
        tasks = ", ".join(task.name for task in table.tasks)
        raise RecordError(f"a decision is on one task, and this table has {tasks}", hint="choose one of them")
    fewer = [id(row) for curve in curves(table) if curve.first.is_learned for row in curve.rows[:-1]]
    rows = [row for row in table.rows if id(row) not in fewer]
    reasons = {names.full(row): _why_not(row, table.tasks[0].num_examples) for row in rows}
    records = [record for row in table.rows for record in row.records]
    groups = clusters(records, table.tasks[0].num_examples)
    chosen = [_candidate(row, groups) for row in rows if reasons[names.full(row)] is None]
    left_out = [f"{name}: {reason}" for name, reason in reasons.items() if reason]
    if not chosen:
        raise RecordError("no row of the table says which answers are right", hint="; ".join(left_out))
    return chosen, left_out


def labels_of(records: Sequence[Record]) -> list[int] | None:
    """Return the index of each row's right choice, where a record says it."""
    results = [result for record in records for result in record.results]
    known = next((result.labels for result in results if result.labels), None)
    text = strata.labels(records)
    return known or (None if text is None else [int(label) for label in text.split()])


def label_counts(records: Sequence[Record]) -> list[int] | None:
    """Return how often each choice is right, where a record says it."""
    results = (result for record in records for result in record.results)
    return next((result.num_labelled for result in results if result.num_labelled), None)


def clusters(records: Sequence[Record], num_rows: int) -> Clusters:
    """Return which rows of a task belong together; each is a cluster of its own where no record says it."""
    text = next((record.task.clusters for record in records if record.task.clusters), None)
    return Clusters.of(text.split() if text else range(num_rows))


def _why_not(row: Row, num_examples: int) -> str | None:
    if not row.records:
        return "published, without records"
    reason = confidence.unknown(row.records)
    answers = [result.right or "" for record in row.records for result in record.results]
    if reason is None and any(len(right) != num_examples for right in answers):
        reason = f"it does not answer all {num_examples} rows"
    return reason


def _candidate(row: Row, groups: Clusters) -> Candidate:
    import numpy as np

    by_seed = {}
    for seed in sorted({record.seed for record in row.records}):
        digits = [result.right or "" for record in row.records if record.seed == seed for result in record.results]
        by_seed[seed] = np.array([np.frombuffer(text.encode(), np.uint8) for text in digits]) - float(ord("0"))
    answers = np.concatenate(list(by_seed.values()))  # (templates x seeds, rows)
    means = tuple(float(of_seed.mean()) for of_seed in by_seed.values())
    right = answers.mean(axis=0)
    interval = selection.wilson(float(right.mean()), selection.num_independent(right, groups, len(answers)))
    return Candidate(row, right, len(answers), means, interval)
