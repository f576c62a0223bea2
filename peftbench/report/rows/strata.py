"""What is drawn where a test set is drawn again: within labels whose counts are fixed; rows of a cluster together."""

from collections.abc import Iterable, Mapping, Sequence
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


def clusters(records: Sequence[Record]) -> str | None:
    """Return the cluster of each example, of rows with one text or of one group; None where each is its own.

    Args:
        records: Of one task, each of the same rows.
    """
    text = next((record.task.clusters for record in records if record.task.clusters), None)
    if text is None:
        return None
    numbers, result = text.split(), records[0].results[0]
    if result.row_ids is not None:
        numbers = [numbers[int(row)] for row in result.row_ids.split()]
    return " ".join(numbers) if len(set(numbers)) < len(numbers) == result.num_examples else None


def number(text: str) -> int:
    """Count numbers that are separated by spaces."""
    return text.count(" ") + 1


def indices(text: str | None) -> "np.ndarray | None":
    """Return labels, or clusters, as numbers: (examples,) int."""
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


def times(generator: "np.random.Generator", num_draws: int, clusters: "np.ndarray") -> "np.ndarray":
    """Draw clusters with replacement, as many as there are: a draw has more examples or fewer, as their sizes fall.

    Args:
        generator: Of random numbers.
        num_draws: How many draws.
        clusters: (examples,), the cluster of each.

    Returns:
        (draws, examples) int, how often each example is drawn.
    """
    import numpy as np

    names, of_example = np.unique(clusters, return_inverse=True)
    drawn = generator.integers(len(names), size=(num_draws, len(names)))
    counts: np.ndarray = occurrences(drawn)[:, of_example]
    return counts


def occurrences(drawn: "np.ndarray") -> "np.ndarray":
    """Count how often each place is drawn: (draws, places) indices of places -> (draws, places) int."""
    import numpy as np

    num_draws, num_places = drawn.shape
    places = drawn + num_places * np.arange(num_draws)[:, None]
    return np.bincount(places.ravel(), minlength=num_draws * num_places).reshape(num_draws, num_places)


def groups(num_examples: int, strata: "np.ndarray | None", clusters: "np.ndarray | None" = None) -> "np.ndarray":
    """Number the groups of examples that change sides together: the first of each label, the second of each, and so on.

    Those of a cluster always do: they are not independent of each other.

    If it makes no difference which side is which, an example's answers may change sides whatever its label is, alone or
    with others that were chosen without a look at the answers: each such test is exact. Alone, examples of which one
    side gets a label right and the other side another one spread the null distribution, though in a set with fixed
    counts that moves no score; in a group it cancels. Where one label is rarer than others, a group has about as many
    of each as the whole set has.

    Args:
        num_examples: All of them.
        strata: (num_examples,), the label of each; None where each example is a group of its own.
        clusters: (num_examples,), the cluster of each; None where each is its own.

    Returns:
        (num_examples,) int.
    """
    import numpy as np

    if clusters is not None:
        return np.unique(clusters, return_inverse=True)[1]
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
