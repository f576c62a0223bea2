"""The stored scores of A and B -> their answers to the same examples, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftbench.errors import RecordError
from peftbench.report.rows import setting
from peftbench.report.rows.confidence import MIXTURE
from peftbench.report.rows.select import Selection, Stored
from peftbench.store.record import Record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RANKED_BY = "ranked_by"
AGAIN = "type the command that made it again, with --force"


@dataclass(frozen=True)
class Pairs:
    """One task's examples that both sides answered, under the (template, seed) that both have.

    Args:
        seeds: Of the side that draws shots; a zero-shot side's answers stand beside each.
        num_pairs: (template, seed) under which an example was answered.
        num_right_a: (examples,) int; under how many of them A is right.
        num_right_b: The same for B.
        by_seed: B's accuracy minus A's with each seed alone.
        left_out: What one side has and the other has not.
    """

    task: str
    sha256: str
    templates: tuple[int, ...]
    seeds: tuple[int, ...]
    num_pairs: int
    num_right_a: "np.ndarray"
    num_right_b: "np.ndarray"
    by_seed: tuple[float, ...]
    left_out: tuple[str, ...]


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
    paired = [pairs for pairs in by_task if pairs.num_pairs and len(pairs.num_right_a)]
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


def _pair_task(a: Selection, b: Selection, sha256: str, name: str) -> Pairs:
    right_a, right_b = _repeated(a, b, _answers(a, sha256), _answers(b, sha256))
    conditions = [condition for condition in _conditions(right_a) if condition in set(_conditions(right_b))]
    left_out = [*_alone(right_a, right_b, "A"), *_alone(right_b, right_a, "B")]
    # A row that was not answered under each condition would weigh some of them more than others.
    right_a, right_b = right_a[conditions], right_b[conditions]
    whole_a, whole_b = right_a.dropna(), right_b.dropna()
    rows = whole_a.index.intersection(whole_b.index).sort_values()
    num_all = len(right_a.index.union(right_b.index))
    seeds = sorted({seed for _, seed in conditions})
    difference = whole_b.loc[rows] - whole_a.loc[rows]
    by_seed = [
        difference[[condition for condition in conditions if condition[1] == seed]].to_numpy().mean() for seed in seeds
    ]
    if conditions and len(rows) < num_all:
        left_out.append(f"{num_all - len(rows)} of {num_all} examples that not all of these have answered")
    return Pairs(
        task=name,
        sha256=sha256,
        templates=tuple(sorted({template for template, _ in conditions})),
        seeds=tuple(seeds),
        num_pairs=len(conditions),
        num_right_a=whole_a.loc[rows].sum(axis=1).to_numpy().astype(int),
        num_right_b=whole_b.loc[rows].sum(axis=1).to_numpy().astype(int),
        by_seed=tuple(map(float, by_seed)),
        left_out=tuple(left_out),
    )


def _repeated(
    a: Selection, b: Selection, right_a: "pd.DataFrame", right_b: "pd.DataFrame"
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Repeat a zero-shot side's answers for each seed of the other side; of two single records, A's for B's seed."""
    if a.is_zero_shot or (a.is_record and b.is_record):
        return _for_seeds(right_a, right_b), right_b
    return right_a, _for_seeds(right_b, right_a) if b.is_zero_shot else right_b


def _conditions(right: "pd.DataFrame") -> list[tuple[int, int]]:
    """List the columns: (template, seed)."""
    columns: Any = right.columns
    return list(columns)


def _for_seeds(right: "pd.DataFrame", other: "pd.DataFrame") -> "pd.DataFrame":
    """Repeat answers for each seed of the other side."""
    import pandas as pd

    seeds = sorted({seed for _, seed in _conditions(other)})
    return pd.DataFrame(
        {(template, seed): right[template, own] for template, own in _conditions(right) for seed in seeds}
    )


def _alone(right: "pd.DataFrame", other: "pd.DataFrame", letter: str) -> Iterator[str]:
    """Name the templates, the seeds, and what other (template, seed), that only one side has."""
    rest = [condition for condition in _conditions(right) if condition not in set(_conditions(other))]
    for place, what in enumerate(("template", "seed")):
        theirs = {condition[place] for condition in _conditions(other)}
        alone = sorted({condition[place] for condition in _conditions(right)} - theirs)
        rest = [condition for condition in rest if condition[place] not in alone]
        if alone:
            yield f"{what} {', '.join(map(str, alone))}: only {letter} has it"
    for template, seed in rest:
        yield f"template {template} with seed {seed}: only {letter} has it"


def _answers(selection: Selection, sha256: str) -> "pd.DataFrame":
    """Read the answers on one task: (examples, conditions), 1.0 right, 0.0 wrong, NaN not asked."""
    import pandas as pd

    largest: dict[int, Stored] = {}
    for stored in selection.stored:
        record = stored.record
        if record.task.sha256 == sha256 and not setting.order(record):
            # The same cell with another --limit: the first of the same rows.
            largest[record.seed] = max(largest.get(record.seed, stored), stored, key=_num_examples)
    return pd.DataFrame(
        {
            (template, seed): values.droplevel("template")
            for seed, stored in sorted(largest.items())
            for template, values in _right(stored).groupby(level="template")
        }
    )


def _num_examples(stored: Stored) -> int:
    return stored.record.results[0].num_examples


def _right(stored: Stored) -> "pd.Series":
    """Return for each (template, row_id) whether the choice that ranks highest is the label; of equals the first.

    argmax_c  log p(y_c | x) / tokens(y_c); or, where the scores have it, what calibration or a vote made of that.
    Paper: 2205.05638, section 3.1.

    Raises:
        RecordError: The scores cannot be read, or give other accuracies than the record.
    """
    record, path = stored.record, stored.store.scores / f"{stored.record.id}.parquet"
    if not path.exists() and stored.store.is_packed(record.id):
        return _right_of_record(record)
    if not path.exists():
        raise RecordError(f"the scores of record {record.id} are missing: no '{path}'", hint=AGAIN)
    try:
        scores = stored.store.read_scores(record.id).sort_values(["template", "row_id", "choice"], kind="stable")
        if RANKED_BY not in scores:
            scores[RANKED_BY] = scores["log_prob"] / scores["num_tokens"]
        best = scores.loc[scores.groupby(["template", "row_id"])[RANKED_BY].idxmax()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise RecordError(f"the scores of record {record.id}, '{path}', are damaged: {why}", hint=AGAIN) from None
    right = (best["choice"] == best["label"]).astype(float).set_axis(best.set_index(["template", "row_id"]).index)
    _check_fit(record, right, str(path))
    return right


def _right_of_record(record: Record) -> "pd.Series":
    """Read what the record itself says of each (template, row_id): of those that were packed, the scores are not kept.

    Raises:
        RecordError: It does not say it: it was written by version 1.
    """
    import pandas as pd

    right = {
        (result.template, row_id): float(digit)
        for result in record.results
        for row_id, digit in enumerate(result.right or "")
    }
    if len(right) != sum(result.num_examples for result in record.results):
        raise RecordError(f"record {record.id} does not say which examples were answered rightly", hint=AGAIN)
    return pd.Series(right).rename_axis(["template", "row_id"])


def _check_fit(record: Record, right: "pd.Series", path: str) -> None:
    """Make sure that scores give as many right answers as their record counts."""
    groups = right.groupby(level="template")
    by_scores = {template: (len(values), int(values.sum())) for template, values in groups}
    by_record = {result.template: (result.num_examples, result.num_correct.get("token")) for result in record.results}
    if by_scores != by_record:
        raise RecordError(
            f"record {record.id} and its scores, '{path}', tell different accuracies: one of them was edited",
            hint=AGAIN,
        )
