"""Rows of a test set whose label counts are fixed: what is drawn is drawn within each label."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from peftbench.store.record import Record
from peftbench.tasks import fixed

if TYPE_CHECKING:
    import numpy as np

MIN_GROUPS = 30
"""Groups of rows below which each row changes sides alone: few groups have few ways to do it."""
WITHIN = "rows drawn within each label, whose counts are fixed by construction"


def remark(is_stratified: Mapping[str, bool]) -> str | None:
    """Write on which tasks rows are drawn within each label, without names where that is all of them.

    Args:
        is_stratified: By a task's name.
    """
    names = [name for name, is_drawn_within in is_stratified.items() if is_drawn_within]
    if not names:
        return None
    return WITHIN if len(names) == len(is_stratified) else f"{WITHIN}, on {', '.join(names)}"


def labels(records: Iterable[Record]) -> str | None:
    """Return the labels of all test rows of a task, separated by spaces; None where their counts are not fixed.

    Args:
        records: Of one task, each of the same number of its rows.
    """
    for record in records:
        text = record.task.labels or fixed.labels(record.task.sha256)
        if text is not None and {number(text)} == {result.num_examples for result in record.results}:
            return text
    return None


def number(text: str) -> int:
    """Count labels that are separated by spaces."""
    return text.count(" ") + 1


def indices(text: str | None) -> "np.ndarray | None":
    """Return labels as numbers: (examples,) int."""
    import numpy as np

    return None if text is None else np.array(text.split(), int)


def drawn(generator: "np.random.Generator", shape: tuple[int, int], strata: "np.ndarray | None") -> "np.ndarray":
    """Draw examples with replacement, of each label as many as there are.

    Args:
        generator: Of random numbers.
        shape: (draws, examples).
        strata: (examples,), the label of each; None where any example stands for any other.

    Returns:
        (draws, examples) int, places of examples.
    """
    import numpy as np

    if strata is None:
        return generator.integers(shape[1], size=shape)
    drawn = np.empty(shape, int)
    for label in np.unique(strata):
        rows = np.flatnonzero(strata == label)
        drawn[:, rows] = rows[generator.integers(len(rows), size=(shape[0], len(rows)))]
    return drawn


def groups(num_examples: int, strata: "np.ndarray | None") -> "np.ndarray":
    """Number the groups of examples that change sides together: the first of each label, the second of each, and so on.

    If it makes no difference which side is which, an example's answers may change sides whatever its label is, alone or
    with others that were chosen without a look at the answers: each such test is exact. Alone, examples of which one
    side gets a label right and the other side another one spread the null distribution, though in a set with fixed
    counts that moves no score; in a group it cancels. Where one label is rarer than others, a group has about as many
    of each as the whole set has.

    Args:
        num_examples: All of them.
        strata: (num_examples,), the label of each; None where each example is a group of its own.

    Returns:
        (num_examples,) int.
    """
    import numpy as np

    places = np.arange(num_examples)
    if strata is None:
        return places
    rows_of = [np.flatnonzero(strata == label) for label in np.unique(strata)]
    num_groups = min(map(len, rows_of))
    if num_groups < MIN_GROUPS:
        return places
    for rows in rows_of:
        places[rows] = np.arange(len(rows)) * num_groups // len(rows)
    return places
