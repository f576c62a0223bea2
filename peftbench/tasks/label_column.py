"""The label's column of a file of rows, and its classes.

A column that is named as labels are is believed first, as long as its values can be classes. Without such a name the
column must hold few values that stand again and again. The bounds of `tasks.columns` are meant for 30 to 300 rows: 20
values that nobody named a class have 15 rows each in the largest of such files; what has more are titles, cities or
products at least as often as classes, and a wrong guess costs more than the option that names the column.
"""

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peftbench.errors import TaskError
from peftbench.tasks import labels
from peftbench.tasks.columns import Column
from peftbench.tasks.faults import listed

MIN_ROWS = 4
WHY_MIN_ROWS = f"{MIN_ROWS} are the least: two classes, and of each a row to learn from and a row to be tested on"
LABEL = frozenset({"label", "labels"})
NAMES = LABEL.union(
    ("class", "classes", "category", "categories", "intent", "intents", "sentiment", "target", "y", "topic", "topics"),
    ("tag", "emotion", "stance", "polarity", "outcome", "verdict", "gold"),
)
"""What label columns are called, in lower case."""
PICK = "--label COLUMN names the column of the classes"
SEPARATORS = (";", "\t", "|")
"""Of files that are called .csv and have no commas."""
Classes = Mapping[str, Sequence[int]]
"""Class -> places of its rows in the file, from 0; classes in the order of their labels."""


def find(table: Sequence[Column], name: str | None) -> tuple[Column | None, Classes, list[TaskError]]:
    """Find the label's column and its classes.

    Args:
        table: The file's columns.
        name: The column, where that is said.

    Returns:
        The column, None where there is no such one, or several; its classes; and the faults.
    """
    possible = [column for column in table if column.name == name] if name is not None else candidates(table)
    if len(possible) > 1:
        columns = listed([column.name for column in possible])
        hint = f"--label COLUMN chooses: --label '{possible[0].name}'"
        return None, {}, [TaskError(f"{len(possible)} columns may be the label: {columns}", hint=hint)]
    if not possible:
        hint = f"{PICK}; columns: {listed([column.name for column in table])}{_not_parted(table)}"
        return None, {}, [TaskError("no column is called label, class or the like, or has few values", hint=hint)]
    label = possible[0]
    classes = {} if label.is_nested else _classes(label)
    return label, classes, _faults(label, classes)


def candidates(table: Sequence[Column]) -> list[Column]:
    """List the columns that may hold the label; several where nothing prefers one of them.

    Columns that part the rows alike are one candidate: of a code and its name the name, if it is called a label, too.
    """
    exact = [column for column in table if " ".join(column.words) in LABEL]
    named = [column for column in table if " ".join(column.words) in NAMES]
    for tier in (exact, named):
        if tier:
            return _best_of_equals([column for column in tier if column.can_be_label] or tier, table)
    partly = [column for column in table if NAMES & {*column.words[:1], *column.words[-1:]} and column.can_be_label]
    few = [column for column in table if column.is_few and column.kind in ("few values", "yes or no", "numbers")]
    return _best_of_equals(partly or [column for column in few if not column.is_numeric or _are_whole(column)], table)


def _are_whole(column: Column) -> bool:
    return all(re.fullmatch(r"[+-]?\d+", text) for text in column.counts)


def _best_of_equals(equals: Sequence[Column], table: Sequence[Column]) -> list[Column]:
    """Take one column for all that part the rows alike: in place of numbers the names of what they are codes of."""
    may_name = [other for other in table if other.can_be_label and (other in equals or NAMES & set(other.words))]
    best: list[Column] = []
    for column in equals:
        if not any(same_classes(column, other) for other in best):
            in_words = [other for other in may_name if not other.is_numeric and same_classes(column, other)]
            best.append(in_words[0] if column.is_numeric and in_words else column)
    return best


def same_classes(column: Column, other: Column) -> bool:
    """Whether two columns tell the same rows apart, wherever the first has a value."""
    pairs = set(_pairs(column, other))
    firsts, seconds = {first for first, _ in pairs}, {second for _, second in pairs}
    return len(pairs) == len(firsts) == len(seconds) > 1 and None not in seconds


def _pairs(column: Column, other: Column) -> Iterable[tuple[str, str | None]]:
    for value, beside in zip(column.values, other.values, strict=True):
        if value is not None:
            yield labels.class_name(value), None if beside is None else labels.class_name(beside)


def _not_parted(table: Sequence[Column]) -> str:
    """Ask whether a file with one column has its columns parted by something else than commas."""
    mark = next((mark for mark in SEPARATORS if mark in table[0].name), None) if len(table) == 1 else None
    return (
        f"; its one column has {mark!r} in its name: are the columns separated so, and not by commas?" if mark else ""
    )


def _classes(label: Column) -> Classes:
    """Gather the rows of each class, numbers by value and words as people sort them.

    Spellings that are one name to `labels.index` are one class, which is called by the most frequent of them.
    """
    spelled: dict[str, Counter[str]] = defaultdict(Counter)
    places: dict[str, list[int]] = defaultdict(list)
    for place, value in enumerate(label.values):
        if value is not None:
            name = labels.class_name(value)
            spelled[labels.fold(name)][name] += 1
            places[labels.fold(name)].append(place)
    names = {key: spellings.most_common(1)[0][0] for key, spellings in spelled.items()}
    return {names[key]: places[key] for key in sorted(names, key=lambda key: _natural(names[key]))}


def _natural(name: str) -> tuple[Any, ...]:
    """Return what classes are sorted by: numbers first, by value; within words numbers by value, too."""
    try:
        return 0, float(name), (), name
    except ValueError:
        parts = re.split(r"([0-9]{1,15})", name.casefold())
        values = tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)
        return 1, 0.0, values, name


def _faults(label: Column, classes: Classes) -> list[TaskError]:
    """List why a column's values cannot be learned as classes."""
    shown, num_rows = f"column '{label.name}'", len(label.texts)
    if not label.name:
        return [TaskError("the label's column has no name", hint="write one into the file, such as label")]
    if label.is_nested:
        return [TaskError(f"{shown} holds lists, and a label is a word or a number", hint=PICK)]
    if num_rows < MIN_ROWS:
        message = f"{shown} has a label in {num_rows} row{'' if num_rows == 1 else 's'}, and {WHY_MIN_ROWS}"
        return [TaskError(message, hint="label more rows")]
    if label.is_quantity:
        message = (
            f"{shown} holds numbers, {len(label.counts):,} different ones in {num_rows:,} rows: to estimate them is a"
        )
        hint = f"{PICK}; or write what the numbers mean, such as low and high, in their place"
        return [TaskError(f"{message} regression, and answers here are chosen among classes", hint=hint)]
    if len(classes) < 2:
        message = f"all {num_rows:,} rows have one label, '{next(iter(classes))}'"
        return [TaskError(message, hint=f"rows of at least two classes are needed; {PICK}")]
    if not label.can_be_label:
        message = f"{shown} has {len(label.counts):,} different values in {num_rows:,} rows: too many for classes"
        hint = f'{PICK}; answers that are texts go with a task\'s TOML that says answer = "text"'
        return [TaskError(f"{message}, which need two rows or more", hint=hint)]
    single = {name: places[0] + 1 for name, places in classes.items() if len(places) == 1}
    return [_single_rows(single, classes)] if single else []


def _single_rows(single: Mapping[str, int], classes: Classes) -> TaskError:
    named = listed([f"'{name}' (row {row})" for name, row in single.items()])
    what = f"class {named} has one row" if len(single) == 1 else f"{len(single)} classes have one row: {named}"
    near = difflib.get_close_matches(next(iter(single)), [name for name in classes if name not in single], n=1)
    hint = f"did row {next(iter(single.values()))} mean '{near[0]}'? " if near else ""
    return TaskError(
        f"{what}; a class needs one to learn from and one to be tested on",
        hint=f"{hint}add rows of the class, or empty its label: rows without a label are left out",
    )
