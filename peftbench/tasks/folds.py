"""Folds: parts of a task's training rows, each of which is tested by what is learned from the others.

Rows that belong together are a cluster, and stand in one fold: those that some template shows alike, upper and lower
case aside, and those of one group. So no row is tested by what has seen its text.

Which fold a row stands in follows from the seed and from what stands in the rows, not from their order or their file.
scikit-learn's StratifiedGroupKFold would do, but is no dependency, decides between equals by the order of the rows,
and leaves folds of one-row clusters less equal than they can be.
"""

import difflib
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from peftbench.errors import TaskError
from peftbench.tasks.task import Row, Task, content


def clustered(pool: Task, group: str | None = None) -> Task:
    """Number the clusters of a task's training rows, in the order of their first rows.

    Args:
        pool: A task without test rows.
        group: Column of rows that belong together; a row whose value is empty or null belongs to no other by it.

    Returns:
        The task with its `clusters`.

    Raises:
        TaskError: Some rows do not have the column.
    """
    if group is not None:
        _check_column(pool, group)
    first_of: dict[Any, int] = {}
    root = list(range(len(pool.train)))
    for place, row in enumerate(pool.train):
        for key in _keys(pool, row, group):
            _unite(root, place, first_of.setdefault(key, place))
    numbers: dict[int, int] = {}
    return replace(pool, clusters=tuple(numbers.setdefault(_root(root, row), len(numbers)) for row in root))


def _check_column(pool: Task, group: str) -> None:
    lacking = [row for row in pool.train if group not in row.fields]
    if lacking:
        columns = list(lacking[0].fields)
        near = difflib.get_close_matches(group, columns, n=1)
        hint = (f"did you mean '{near[0]}'? " if near else "") + f"columns: {', '.join(columns)}"
        message = f"--group '{group}' is no column of row {lacking[0].id + 1} of task '{pool.name}'"
        raise TaskError(message, hint=hint)


def _keys(pool: Task, row: Row, group: str | None) -> Iterator[tuple[Any, ...]]:
    """Yield what a row shares with each row of its cluster: the input under a template, or the group."""
    for template in pool.templates:
        if template.reads(row):
            yield template.index, template.render(row).input.casefold()
    value = None if group is None else row.fields[group]
    if value not in (None, "") and not (isinstance(value, float) and math.isnan(value)):
        yield "group", json.dumps(value, sort_keys=True, default=str)


def _unite(root: list[int], place: int, other: int) -> None:
    """Join two rows' clusters under the earlier one's first row."""
    first, last = sorted((_root(root, place), _root(root, other)))
    root[last] = first


def _root(root: list[int], place: int) -> int:
    while root[place] != place:
        root[place] = root[root[place]]
        place = root[place]
    return place


def split(pool: Task, num_folds: int, seed: int) -> tuple[Task, ...]:
    """Split a task's training rows into folds: of equal size and with each label alike, as far as clusters let them be.

    Args:
        pool: A task with `clusters` and without test rows.
        num_folds: How many folds.
        seed: Each seed is a split of its own.

    Returns:
        For each fold the task whose test rows are the fold, and whose training rows are the others; both as they stood,
        with the same `Row.id`.

    Raises:
        TaskError: More folds than rows, or than a class has rows that can be parted where that is not known of it.
    """
    _check(pool, num_folds)
    assert pool.clusters is not None
    fold_of = _dealt(_members(pool), num_folds, seed)
    folds = [fold_of[cluster] for cluster in pool.clusters]
    placed = list(zip(pool.train, folds, strict=True))
    return tuple(
        replace(
            pool,
            train=tuple(row for row, fold in placed if fold != index),
            test=tuple(row for row, fold in placed if fold == index),
        )
        for index in range(num_folds)
    )


def check_shots(task: str, parts: Sequence[Task], num_rows: int, noun: str = "shots") -> None:
    """See that what each fold leaves to learn from suffices for the shots, or for the pool that they are chosen from.

    Args:
        task: Its name.
        parts: The folds of one split.
        num_rows: How many are drawn.
        noun: What they are.

    Raises:
        TaskError: It does not.
    """
    least = min(len(part.train) for part in parts)
    if num_rows > least:
        option = "--shots" if noun == "shots" else "--pool"
        message = f"{num_rows} {noun} were asked for, and with {len(parts)} folds task '{task}' has {least} rows"
        raise TaskError(f"{message} to learn from", hint=f"{option} {least} or fewer, or more rows with --train")


def remark(task: Task) -> str | None:
    """Say how many rows have the text of another one, and what is done about it; None where none has.

    Args:
        task: With `clusters` of texts alone, and not of a group.
    """
    sizes = Counter(task.clusters)
    num_rows = sum(size for size in sizes.values() if size > 1)
    text = f"{task.name}: {num_rows:,} of {sizes.total():,} rows have the text of another one"
    return f"{text}: they stand in one fold, and count as one in intervals and tests" if num_rows else None


def _members(pool: Task) -> Mapping[int, list[Row]]:
    members: dict[int, list[Row]] = defaultdict(list)
    for row, cluster in zip(pool.train, pool.clusters or (), strict=True):
        members[cluster].append(row)
    return members


def _dealt(members: Mapping[int, Sequence[Row]], num_folds: int, seed: int) -> dict[int, int]:
    """Deal clusters to folds, largest first: each to the fold that has the fewest rows of its labels, then the fewest.

    Of one-row clusters no two folds then differ by more than one row, nor by more than one row of a label: label by
    label, what does not come out even goes to the smallest folds.

    Returns:
        Cluster -> fold.
    """
    by_label = [Counter[int]() for _ in range(num_folds)]
    fold_of = {}
    for cluster in sorted(members, key=lambda cluster: _place(members[cluster], seed)):
        labels = Counter(row.label for row in members[cluster])
        filled = [(sum(labels[label] * has[label] for label in labels), has.total()) for has in by_label]
        fold_of[cluster] = min(range(num_folds), key=filled.__getitem__)
        by_label[fold_of[cluster]].update(labels)
    return fold_of


def _place(rows: Sequence[Row], seed: int) -> tuple[int, list[int], bytes]:
    """Return what decides when a cluster is dealt: its size, its labels, then chance."""
    texts = sorted(content(row) for row in rows)
    digest = hashlib.sha256("\0".join(("fold", str(seed), *texts)).encode()).digest()
    return -len(rows), sorted(row.label for row in rows), digest


def _check(pool: Task, num_folds: int) -> None:
    """Refuse more folds than rows, or than clusters of a class: some fold would have none of it.

    Where each row brings its own choices there are no classes, and labels are only the places of the right ones. A task
    may say that it has classes of so few rows, and only the rows count.
    """
    if pool.has_rare_classes and num_folds <= len(set(pool.clusters or ())):
        return
    names = pool.classes or pool.templates[0].fixed_choices
    of_class = defaultdict(list)
    for row, cluster in zip(pool.train, pool.clusters or (), strict=True):
        of_class[names[row.label] if names else ""].append(cluster)
    name, clusters = min(of_class.items(), key=lambda item: len(set(item[1])))
    most = len(set(clusters))
    if num_folds <= most:
        return
    hint = f"--folds {most} is the most" if most > 1 else "at least two rows of each class that can stand apart"
    if num_folds > len(pool.train):
        raise TaskError(f"{num_folds} folds of {len(pool.train)} rows: a fold takes at least one", hint=hint)
    apart = "" if most == len(clusters) else f", which stand together as {most}"
    whose = f"class '{name}'" if names else f"task '{pool.name}'"
    number = f"{len(clusters)} row{'s' if len(clusters) > 1 else ''}{apart}"
    raise TaskError(f"{num_folds} folds, and {whose} has {number}: each fold takes at least one", hint=hint)
