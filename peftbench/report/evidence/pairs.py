"""The stored scores of two sides -> answers to the same examples, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftbench.errors import RecordError
from peftbench.report.rows import setting
from peftbench.report.rows.confidence import MIXTURE
from peftbench.report.rows.select import Kept, Side
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


def pair(a: Side, b: Side) -> tuple[list[Pairs], list[str]]:
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
        found = f"A has {', '.join(names_a.values())}; B has {', '.join(names_b.values())}"
        raise RecordError("A and B have no task in common", hint=found)
    _check_single(a, common)
    left_out = [f"task {name}: only A has it" for sha256, name in names_a.items() if sha256 not in names_b]
    left_out += [f"task {name}: only B has it" for sha256, name in names_b.items() if sha256 not in names_a]
    for name, side in (("A", a), ("B", b)):
        others = sum(setting.order(one.record) > 0 for one in side.kept)
        left_out += [f"{others} records of {name} with another order of the shots than that of the draw"] * bool(others)
    tried = [_pair_task(a, b, *item) for item in sorted(common.items(), key=lambda item: (item[1], item[0]))]
    left_out += _gathered(tried)
    paired = [one for one in tried if one.num_pairs and len(one.num_right_a)]
    if not paired:
        raise RecordError(
            "A and B have no example under the same template and seed in common", hint="; ".join(left_out)
        )
    return paired, left_out


def _check_single(side: Side, tasks: Mapping[str, str]) -> None:
    for one in side.kept:
        if one.record.task.family == MIXTURE and one.record.task.sha256 in tasks:
            raise RecordError(
                f"task '{one.record.task.name}' is a mixture: its examples are of several tasks",
                hint="start from both adapters on one task, with `peftbench tune --start-from`, and compare that",
            )


def _tasks(side: Side) -> dict[str, str]:
    return {one.record.task.sha256: one.record.task.name for one in side.kept}


def _gathered(tried: Sequence[Pairs]) -> list[str]:
    """Say what is left out, once for all tasks where it is the same."""
    tasks: dict[str, list[str]] = {}
    for one in tried:
        for text in one.left_out:
            tasks.setdefault(text, []).append(one.task)
    every = f"all {len(tried)} tasks"
    return [f"{every if len(some) == len(tried) > 1 else ', '.join(some)}: {text}" for text, some in tasks.items()]


def _check_data(a: dict[str, str], b: dict[str, str]) -> None:
    for name in sorted(set(a.values()) & set(b.values())):
        in_a, in_b = ({sha256 for sha256, task in names.items() if task == name} for names in (a, b))
        if not in_a & in_b:
            data = [", ".join(sorted(sha256[:6] for sha256 in some)) for some in (in_a, in_b)]
            raise RecordError(
                f"task '{name}' is other data on each side: A has {data[0]}, B has {data[1]} (SHA-256)",
                hint="its rows or templates were edited in between: run both sides again on the same file",
            )


def _pair_task(a: Side, b: Side, sha256: str, name: str) -> Pairs:
    right_a, right_b = _broadcast(a, b, _answers(a, sha256), _answers(b, sha256))
    cells = [cell for cell in _cells(right_a) if cell in set(_cells(right_b))]
    left_out = [*_alone(right_a, right_b, "A"), *_alone(right_b, right_a, "B")]
    # A row that was not answered under each of the cells would weigh some of them more than others.
    right_a, right_b = right_a[cells], right_b[cells]
    whole_a, whole_b = right_a.dropna(), right_b.dropna()
    rows = whole_a.index.intersection(whole_b.index).sort_values()
    num_all = len(right_a.index.union(right_b.index))
    seeds = sorted({seed for _, seed in cells})
    difference = whole_b.loc[rows] - whole_a.loc[rows]
    by_seed = [difference[[cell for cell in cells if cell[1] == seed]].to_numpy().mean() for seed in seeds]
    if cells and len(rows) < num_all:
        left_out.append(f"{num_all - len(rows)} of {num_all} examples that not all of these have answered")
    return Pairs(
        task=name,
        sha256=sha256,
        templates=tuple(sorted({template for template, _ in cells})),
        seeds=tuple(seeds),
        num_pairs=len(cells),
        num_right_a=whole_a.loc[rows].sum(axis=1).to_numpy().astype(int),
        num_right_b=whole_b.loc[rows].sum(axis=1).to_numpy().astype(int),
        by_seed=tuple(map(float, by_seed)),
        left_out=tuple(left_out),
    )


def _broadcast(a: Side, b: Side, right_a: "pd.DataFrame", right_b: "pd.DataFrame") -> "tuple[pd.DataFrame, ...]":
    """Let what no seed decides stand beside each seed of the other side; two single records beside each other."""
    if a.draws_nothing or (a.is_record and b.is_record):
        return _under(right_a, right_b), right_b
    return right_a, _under(right_b, right_a) if b.draws_nothing else right_b


def _cells(right: "pd.DataFrame") -> list[tuple[int, int]]:
    """List the columns: (template, seed)."""
    columns: Any = right.columns
    return list(columns)


def _under(right: "pd.DataFrame", other: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    seeds = sorted({seed for _, seed in _cells(other)})
    return pd.DataFrame({(template, seed): right[template, own] for template, own in _cells(right) for seed in seeds})


def _alone(right: "pd.DataFrame", other: "pd.DataFrame", side: str) -> Iterator[str]:
    """Say which templates, seeds, and what other (template, seed), one side has alone."""
    rest = [cell for cell in _cells(right) if cell not in set(_cells(other))]
    for place, what in enumerate(("template", "seed")):
        alone = sorted({cell[place] for cell in _cells(right)} - {cell[place] for cell in _cells(other)})
        rest = [cell for cell in rest if cell[place] not in alone]
        if alone:
            yield f"{what} {', '.join(map(str, alone))}: only {side} has it"
    for template, seed in rest:
        yield f"template {template} with seed {seed}: only {side} has it"


def _answers(side: Side, sha256: str) -> "pd.DataFrame":
    """Give one row per example, one column per (template, seed): 1.0 right, 0.0 wrong, NaN not asked."""
    import pandas as pd

    largest: dict[int, Kept] = {}
    for one in side.kept:
        if one.record.task.sha256 == sha256 and not setting.order(one.record):
            # The same cell with another --limit: the first of the same rows.
            largest[one.record.seed] = max(largest.get(one.record.seed, one), one, key=_num_examples)
    return pd.DataFrame(
        {
            (template, seed): values.droplevel("template")
            for seed, one in sorted(largest.items())
            for template, values in _right(one).groupby(level="template")
        }
    )


def _num_examples(one: Kept) -> int:
    return one.record.results[0].num_examples


def _right(one: Kept) -> "pd.Series":
    """Say for each (template, row_id) whether the choice that ranks highest is the label; of equals the first.

    argmax_c  log p(y_c | x) / tokens(y_c); or, where the scores have it, what calibration or a vote made of that.
    Paper: 2205.05638, section 3.1.

    Raises:
        RecordError: The scores cannot be read, or give other accuracies than the record.
    """
    path = one.store.scores / f"{one.record.id}.parquet"
    if not path.exists() and one.store.is_packed(one.record.id):
        return _right_of_record(one.record)
    if not path.exists():
        raise RecordError(f"the scores of record {one.record.id} are missing: no '{path}'", hint=AGAIN)
    try:
        scores = one.store.read_scores(one.record.id).sort_values(["template", "row_id", "choice"], kind="stable")
        if RANKED_BY not in scores:
            scores[RANKED_BY] = scores["log_prob"] / scores["num_tokens"]
        best = scores.loc[scores.groupby(["template", "row_id"])[RANKED_BY].idxmax()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise RecordError(f"the scores of record {one.record.id}, '{path}', are damaged: {why}", hint=AGAIN) from None
    right = (best["choice"] == best["label"]).astype(float).set_axis(best.set_index(["template", "row_id"]).index)
    _check_fit(one, right, str(path))
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


def _check_fit(one: Kept, right: "pd.Series", path: str) -> None:
    groups = right.groupby(level="template")
    found = {template: (len(values), int(values.sum())) for template, values in groups}
    told = {each.template: (each.num_examples, each.num_correct.get("token")) for each in one.record.results}
    if found != told:
        raise RecordError(
            f"record {one.record.id} and its scores, '{path}', tell different accuracies: one of them was edited",
            hint=AGAIN,
        )
