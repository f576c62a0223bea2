"""The answers of A and B -> those to the same examples, side by side."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftbench import registry
from peftbench.errors import RecordError
from peftbench.metrics.base import Metric
from peftbench.metrics.text import TextMetric
from peftbench.report.evidence import answers, randomisation
from peftbench.report.evidence.answers import Answers, Condition
from peftbench.report.evidence.randomisation import AnyMetric, Predictions, Sides, Statistics
from peftbench.report.rows import setting, strata
from peftbench.report.rows.confidence import MIXTURE
from peftbench.report.rows.metric import ACCURACY
from peftbench.report.rows.select import Selection
from peftbench.store.record import Record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Pairs:
    """One task's examples that both sides answered, under the (template, seed) that both have.

    Args:
        metric: Of the task.
        seeds: Of the side that draws shots; a zero-shot side's answers stand beside each.
        num_pairs: (template, seed) under which an example was answered.
        num_examples: That both sides answered.
        num_right_a: (examples,) int; under how many of them A is right; None where answers are written.
        num_right_b: The same for B.
        by_seed: B's score minus A's with each seed alone.
        left_out: What one side has and the other has not.
        sides: What both answered; None for accuracy, which needs no more than what is right.
        labels: (examples,) int; None where their counts are not fixed, or these are not all test rows.
        clusters: (examples,) int, of rows with one text or of one group; None where each is its own.
    """

    task: str
    sha256: str
    metric: AnyMetric
    templates: tuple[int, ...]
    seeds: tuple[int, ...]
    num_pairs: int
    num_examples: int
    num_right_a: "np.ndarray | None"
    num_right_b: "np.ndarray | None"
    by_seed: tuple[float, ...]
    left_out: tuple[str, ...]
    sides: Sides | None
    labels: "np.ndarray | None"
    clusters: "np.ndarray | None" = None

    @property
    def num_clusters(self) -> int:
        """How many examples, or clusters of them, are independent of each other."""
        return self.num_examples if self.clusters is None else len(set(self.clusters.tolist()))


def pair(a: Selection, b: Selection) -> tuple[list[Pairs], list[str]]:
    """Put the answers to the same examples beside each other: by task (its data's SHA-256), row, template and seed.

    Returns:
        The tasks that could be paired, and in words what could not be.

    Raises:
        RecordError: Nothing in common, other data under one task's name, or scores that are missing or do not fit
            their record.
    """
    names_a, names_b = _tasks(a), _tasks(b)
    _check_data(names_a, names_b)
    common = {sha256: name for sha256, name in names_a.items() if sha256 in names_b}
    if not common:
        tasks = f"A has {', '.join(names_a.values())}; B has {', '.join(names_b.values())}"
        raise RecordError("A and B have no task in common", hint=tasks)
    _check_single(a, common)
    tasks_in_order = sorted(common.items(), key=lambda item: (item[1], item[0]))
    by_task = [_pair_task(a, b, sha256, name) for sha256, name in tasks_in_order]
    left_out = [*_tasks_alone(names_a, names_b), *_reordered("A", a), *_reordered("B", b), *_gathered(by_task)]
    paired = [pairs for pairs in by_task if pairs.num_pairs and pairs.num_examples]
    if not paired:
        raise RecordError(
            "A and B have no example under the same template and seed in common", hint="; ".join(left_out)
        )
    return paired, left_out


def _tasks(selection: Selection) -> dict[str, str]:
    """Return the names of the tasks by their SHA-256."""
    return {record.task.sha256: record.task.name for record in selection.records}


def _tasks_alone(names_a: Mapping[str, str], names_b: Mapping[str, str]) -> Iterator[str]:
    """Name the tasks that only one of the two has."""
    for letter, names, others in (("A", names_a, names_b), ("B", names_b, names_a)):
        yield from (f"task {name}: only {letter} has it" for sha256, name in names.items() if sha256 not in others)


def _reordered(letter: str, selection: Selection) -> Iterator[str]:
    """Count the records whose shots stood in another order than that of the draw: they are not compared."""
    number = sum(setting.order(record) > 0 for record in selection.records)
    if number:
        yield f"{number} records of {letter} with another order of the shots than that of the draw"


def _check_single(selection: Selection, tasks: Mapping[str, str]) -> None:
    for record in selection.records:
        if record.task.family == MIXTURE and record.task.sha256 in tasks:
            raise RecordError(
                f"task '{record.task.name}' is a mixture: its examples are of several tasks",
                hint="start from both adapters on one task, with `peftbench tune --start-from`, and compare that",
            )


def _gathered(by_task: Sequence[Pairs]) -> list[str]:
    """List what was left out, once for all tasks where it is the same."""
    tasks: dict[str, list[str]] = {}
    for pairs in by_task:
        for text in pairs.left_out:
            tasks.setdefault(text, []).append(pairs.task)
    texts = []
    for text, names in tasks.items():
        is_everywhere = len(names) == len(by_task) > 1
        texts.append(f"{f'all {len(by_task)} tasks' if is_everywhere else ', '.join(names)}: {text}")
    return texts


def _check_data(names_a: Mapping[str, str], names_b: Mapping[str, str]) -> None:
    """Make sure that a task's name stands for the same data in A and in B."""
    for name in sorted(set(names_a.values()) & set(names_b.values())):
        data_a, data_b = ({sha256 for sha256, task in names.items() if task == name} for names in (names_a, names_b))
        if not data_a & data_b:
            short_a, short_b = (", ".join(sorted(sha256[:6] for sha256 in data)) for data in (data_a, data_b))
            raise RecordError(
                f"task '{name}' is other data on each side: A has {short_a}, B has {short_b} (SHA-256)",
                hint="its rows or templates were edited in between: run both sides again on the same file",
            )


def _metric(a: Selection, b: Selection, sha256: str, task: str) -> AnyMetric:
    """Return the metric of a task, which both sides' records have to share.

    Raises:
        RecordError: They do not.
    """
    names = {
        letter: {record.metric for record in selection.records if record.task.sha256 == sha256}
        for letter, selection in (("A", a), ("B", b))
    }
    if len(names["A"] | names["B"]) > 1:
        sides = "; ".join(f"{letter} has {', '.join(sorted(of_side))}" for letter, of_side in names.items())
        raise RecordError(
            f"task '{task}' is scored by several metrics: {sides}",
            hint="type the command that made the older records again: it scores them by the task's metric of now",
        )
    name = names["A"].pop()
    return registry.text_metric(name) if name in registry.TEXT_METRICS else registry.metric(name)


def _pair_task(a: Selection, b: Selection, sha256: str, name: str) -> Pairs:
    import numpy as np

    of_task = _metric(a, b, sha256, name)
    of_a, of_b = _repeated(a, b, answers.read(a, sha256), answers.read(b, sha256))
    conditions = [condition for condition in of_a if condition in of_b]
    left_out = [*_alone(of_a, of_b, "A"), *_alone(of_b, of_a, "B")]
    rows, num_all = _rows(of_a, of_b, conditions)
    if conditions and len(rows) < num_all:
        _check_part(of_task, name, len(rows), num_all)
        left_out.append(f"{num_all - len(rows)} of {num_all} examples that not all of these have answered")
    records = [record for side in (a, b) for record in side.records if record.task.sha256 == sha256]
    right, sides, differences = None, None, np.zeros((1, 0))  # (1, conditions)
    if isinstance(of_task, Metric):
        right = [_column(of_side, conditions, rows, "right") for of_side in (of_a, of_b)]  # (examples, conditions) each
        differences = right[1] - right[0]
    if of_task.name != ACCURACY and conditions and len(rows):
        sides = _sides(of_a, of_b, conditions, rows)
        scores_a, scores_b = randomisation.scores(of_task, sides)
        differences = (scores_b - scores_a)[None]
    return Pairs(
        task=name,
        sha256=sha256,
        metric=of_task,
        templates=tuple(sorted({template for template, _ in conditions})),
        seeds=tuple(sorted({seed for _, seed in conditions})),
        num_pairs=len(conditions),
        num_examples=len(rows),
        num_right_a=None if right is None else right[0].sum(axis=1).astype(int),
        num_right_b=None if right is None else right[1].sum(axis=1).astype(int),
        by_seed=tuple(_by_seed(conditions, differences)),
        left_out=tuple(left_out),
        sides=sides,
        labels=_labels(records, rows),
        clusters=_clusters(records, rows),
    )


def _labels(records: Sequence[Record], rows: "pd.Index") -> "np.ndarray | None":
    """Return the labels of the rows, where their counts are fixed and no test row is missing."""
    labels = strata.indices(strata.labels(records))
    return labels if labels is not None and rows.tolist() == list(range(len(labels))) else None


def _clusters(records: Sequence[Record], rows: "pd.Index") -> "np.ndarray | None":
    """Return the clusters of the rows; where sides were split by other groups, those of the fewest."""
    texts = {record.task.clusters for record in records if record.task.clusters}
    if not texts:
        return None
    clusters = strata.indices(min(texts, key=lambda text: (len(set(text.split())), text)))
    assert clusters is not None
    of_rows = clusters[rows.to_numpy(int)]
    return of_rows if len(set(of_rows.tolist())) < len(of_rows) else None


def _rows(of_a: Answers, of_b: Answers, conditions: Sequence[Condition]) -> tuple["pd.Index", int]:
    """Find the rows that both sides answered under each condition, and how many a side answered under any.

    A row that was not answered under each condition would weigh some of them more than others.
    """
    import pandas as pd

    every = [frame.index for side in (of_a, of_b) for frame in side.values()]
    shared = [side[condition].index for side in (of_a, of_b) for condition in conditions] or [pd.Index([], dtype=int)]
    rows = functools.reduce(pd.Index.intersection, shared).sort_values()
    return rows, len(functools.reduce(pd.Index.union, every))


def _check_part(metric: AnyMetric, task: str, num_rows: int, num_all: int) -> None:
    """Refuse a part of the rows where the metric is of all of them.

    Raises:
        RecordError: It is.
    """
    if isinstance(metric, TextMetric) and metric.needs_all is not None:
        message = f"A and B share {num_rows} of {num_all} rows of task '{task}', and {metric.title} is of all of them"
        raise RecordError(f"{message}: {metric.needs_all}", hint="both sides with the same rows")


def _sides(of_a: Answers, of_b: Answers, conditions: Sequence[Condition], rows: "pd.Index") -> Sides:
    """Line up what both sides answered to some rows."""
    import numpy as np

    if "statistics" in of_a[conditions[0]]:
        parts = ([np.array(side[key].loc[rows, "statistics"].tolist()) for key in conditions] for side in (of_a, of_b))
        return Statistics(*map(tuple, parts))
    a, b = (_column(side, conditions, rows, "prediction").T.astype(int) for side in (of_a, of_b))
    return Predictions(a, b, _column(of_a, conditions, rows, "label").T.astype(int))


def _column(side: Answers, conditions: Sequence[Condition], rows: "pd.Index", name: str) -> "np.ndarray":
    """Line up a column of some rows: (examples, conditions)."""
    import numpy as np

    values = [side[condition].loc[rows, name].to_numpy() for condition in conditions]
    return np.array(values, float).reshape(len(values), len(rows)).T


def _by_seed(conditions: Sequence[Condition], differences: "np.ndarray") -> Iterator[float]:
    """Average differences, (..., conditions), with each seed alone."""
    for seed in sorted({seed for _, seed in conditions}):
        places = [place for place, condition in enumerate(conditions) if condition[1] == seed]
        yield float(differences[:, places].mean())


def _repeated(a: Selection, b: Selection, of_a: Answers, of_b: Answers) -> tuple[Answers, Answers]:
    """Repeat a zero-shot side's answers for each seed of the other side; of two single records, A's for B's seed."""
    if a.is_zero_shot or (a.is_record and b.is_record):
        return _for_seeds(of_a, of_b), of_b
    return of_a, _for_seeds(of_b, of_a) if b.is_zero_shot else of_b


def _for_seeds(of_side: Answers, other: Answers) -> Answers:
    """Repeat answers for each seed of the other side."""
    seeds = sorted({seed for _, seed in other})
    return {(template, seed): of_side[template, own] for template, own in of_side for seed in seeds}


def _alone(of_side: Answers, other: Answers, letter: str) -> Iterator[str]:
    """Name the templates, the seeds, and what other (template, seed), that only one side has."""
    rest = [condition for condition in of_side if condition not in other]
    for place, what in enumerate(("template", "seed")):
        theirs = {condition[place] for condition in other}
        alone = sorted({condition[place] for condition in of_side} - theirs)
        rest = [condition for condition in rest if condition[place] not in alone]
        if alone:
            yield f"{what} {', '.join(map(str, alone))}: only {letter} has it"
    for template, seed in rest:
        yield f"template {template} with seed {seed}: only {letter} has it"
