"""How sure a score is: answers by example -> a 95 % interval."""

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peftbench import registry
from peftbench.metrics.base import Metric, confusion
from peftbench.report.rows import strata
from peftbench.report.rows.metric import ACCURACY
from peftbench.store.record import Record, WrittenResult

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
NUM_DRAWS = 1_000
MIXTURE = "mixture"
"""The family of a task that is several tasks mixed."""
OLD = "records of schema version 1 do not say which examples are right"
INTERVAL = f"{100 * CONFIDENCE:.0f} % interval"
"""What notes on intervals begin with."""
CONVENTION = (
    f"{INTERVAL}: percentile, cluster bootstrap over examples within tasks (an example stays "
    f"together with all its templates and seeds), {NUM_DRAWS:,} draws, fixed seed; tasks, templates and shots are kept "
    "as they are, so that it does not speak of other ones"
)


@dataclass(frozen=True)
class Draws:
    """A row's score on one task, drawn again and again.

    Args:
        values: (draws,).
        is_certain: Whether all are equal because the label counts are fixed, and not for want of rows that differ.
    """

    values: "np.ndarray"
    is_certain: bool = False


def drawn(records: Sequence[Record]) -> Draws | None:
    """Draw the median score of a row's records on one task, as `medians_of`; None where that cannot be done."""
    if unknown(records):
        return None
    import numpy as np

    labels, clusters = strata.labels(records), strata.clusters(records)
    results = [result for record in records for result in record.results]
    name, stream = records[0].metric, records[0].task.sha256
    if all(result.written is not None for result in results):
        written = [result.written for result in results if result.written is not None]
        return Draws(medians_of_written(name, written, stream, clusters))
    if name == ACCURACY:
        values = medians([result.right or "" for result in results], stream, labels, clusters)
    else:
        predicted, right = ([getattr(result, part) for result in results] for part in ("predictions", "labels"))
        values = medians_of(registry.metric(name), predicted, right, stream, labels, clusters)
    # Where all rows are right, or none is, new rows could show otherwise.
    has_limits = any(len(set(result.right or "")) < 2 for result in results)
    return Draws(values, labels is not None and not np.ptp(values) and not has_limits)


def are_old(records: Sequence[Record]) -> bool:
    """Return whether some records were made before they said which examples are right."""
    return any(result.right is None and result.written is None for record in records for result in record.results)


def why_none(records: Sequence[Record]) -> str:
    """Return why a row's records on one task have no interval."""
    return unknown(records) or "all examples weigh the same, so that drawing them again shows nothing"


def unknown(records: Sequence[Record]) -> str | None:
    """Return why it is not known which examples a row's records on one task answer rightly; None where it is."""
    if records[0].task.family == MIXTURE:
        return "a mixture's examples are of several tasks, each under the templates of its own"
    if are_old(records):
        return OLD
    if len({(result.num_examples, result.row_ids) for record in records for result in record.results}) > 1:
        return "some templates skip rows, so that each is scored on examples of its own"
    return None


def medians_of(
    metric: Metric,
    predictions: Sequence[Sequence[int]],
    labels: Sequence[Sequence[int]],
    name: str,
    within: str | None = None,
    clusters: str | None = None,
) -> "np.ndarray":
    """Draw a task's median of a metric again and again, the example being what is drawn.

    median_k M(C_k),  C_k[t, p] the times that p was predicted where t is right, over examples i_1 ... i_n, which are
    drawn with replacement from 1 ... n and the same for each k; or clusters of them, as many as there are

    Args:
        metric: M.
        predictions: For each (template, seed) k, the index of each example's predicted choice.
        labels: The same of the right choice.
        name: Of the task; decides the stream of random numbers, so that rows of a table draw the same examples.
        within: The labels, separated by spaces, within which examples are drawn; None for any example.
        clusters: The cluster of each example, separated by spaces; None where each is its own.

    Returns:
        (draws,) float64.

    Paper: Field and Welsh 2007 (cluster bootstrap); the percentiles are Efron and Tibshirani 1993, chapter 13, and the
        draws within labels theirs of several samples, chapter 8.
    """
    import numpy as np

    chosen, right = np.array(predictions), np.array(labels)  # (templates x seeds, examples)
    times = _times(chosen.shape[1], name, within, clusters).T  # (draws, examples)
    size = 1 + int(max(chosen.max(), right.max()))
    counts = (
        confusion(of_pair, right_of_pair, times, size) for of_pair, right_of_pair in zip(chosen, right, strict=True)
    )
    values = np.array([metric.value(table) for table in counts])  # (templates x seeds, draws)
    return np.asarray(np.median(values, axis=0))


def medians_of_written(
    metric: str, written: Sequence[WrittenResult], name: str, clusters: str | None = None
) -> "np.ndarray":
    r"""Draw a task's median of a metric of written answers as `medians_of` does.

    median_k f(\sum_i w_i s_ik),  s_ik the statistics of example i, w_i the times that it is drawn

    Args:
        metric: Name of f.
        written: For each (template, seed) k, the answers.
        name: Of the task; decides the stream of random numbers, so that rows of a table draw the same examples.
        clusters: The cluster of each example, separated by spaces; None where each is its own.

    Returns:
        (draws,) float64, in hundredths of what is shown.
    """
    import numpy as np

    value, statistics = registry.text_metric(metric).value, [np.array(part.statistics) for part in written]
    times = _times(len(statistics[0]), name, None, clusters).T  # (draws, examples)
    values = np.array([value(times @ of_part) for of_part in statistics])  # (templates x seeds, draws)
    return np.asarray(np.median(values, axis=0) * written[0].scale / 100)


def medians(right: Sequence[str], name: str, within: str | None = None, clusters: str | None = None) -> "np.ndarray":
    r"""Draw a task's median accuracy as `medians_of` does, twenty times as fast.

    median_k (1/n) \sum_j r_{i_j k},  i_1 ... i_n drawn with replacement from 1 ... n; of clusters n is what was drawn

    Args:
        right: For each (template, seed) k, "1" or "0" for each example i: right or wrong.
        name: Of the task; decides the stream of random numbers, so that rows of a table draw the same examples.
        within: The labels, separated by spaces, within which examples are drawn; None for any example.
        clusters: The cluster of each example, separated by spaces; None where each is its own.

    Returns:
        (draws,) float32.
    """
    import numpy as np

    answers = np.array([np.frombuffer(digits.encode(), np.uint8) for digits in right], np.float32) - ord("0")
    times = _times(answers.shape[1], name, within, clusters)
    shares = answers @ times
    if clusters is not None:
        shares *= answers.shape[1] / times.sum(axis=0)
    shares.sort(axis=0)
    middle = (len(shares) - 1) // 2
    return (shares[middle] + shares[len(shares) // 2]) / (2 * answers.shape[1])


def interval(tasks: Sequence[Draws]) -> tuple[float, float] | None:
    """Return the interval of the mean over tasks of what was drawn.

    Returns:
        Its ends, 0 to 1; None where all draws are equal, which is ignorance and not certainty. It is certainty where
        the score follows from label counts that are fixed, as that of one answer to all rows: the ends are equal then.
    """
    import numpy as np

    means = np.sort(np.mean([task.values for task in tasks], axis=0, dtype=np.float64))
    if means[0] == means[-1] and not all(task.is_certain for task in tasks):
        return None
    tail = (1 - CONFIDENCE) / 2
    # np.quantile takes as long as all the rest.
    low, high = np.interp([tail, 1 - tail], np.linspace(0, 1, len(means)), means)
    return float(low), float(high)


@functools.lru_cache(maxsize=64)
def _times(num_examples: int, name: str, within: str | None, clusters: str | None = None) -> "np.ndarray":
    """Count how often each example is drawn: (examples, draws) float32."""
    import numpy as np

    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if (together := strata.indices(clusters)) is not None:
        return np.ascontiguousarray(strata.times(generator, NUM_DRAWS, together).T, np.float32)
    drawn = strata.drawn(generator, (NUM_DRAWS, num_examples), strata.indices(within))
    times = np.zeros((num_examples, NUM_DRAWS), np.float32)
    for draw, examples in enumerate(drawn):
        times[:, draw] = np.bincount(examples, minlength=num_examples)
    return times
