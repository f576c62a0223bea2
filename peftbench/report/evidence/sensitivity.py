"""How a row's score varies with what was not learned: the shots' order, their draw, the template, the length."""

import itertools
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from peftbench.report.rows import setting
from peftbench.report.rows.table import Row, Spread, Table
from peftbench.store.record import Normalization, Record, TemplateResult

Condition = tuple[int, int, int]
"""Order of the shots, seed that drew them, template."""
FACTORS = ("orders of the same shots", "draws of the shots", "templates")
"""What a condition's three numbers count."""
NORMALIZATIONS: tuple[Normalization, ...] = ("token", "char", "byte", "none")


@dataclass(frozen=True)
class Variation:
    """How a row's score varies with one factor.

    Args:
        deviation: Standard deviation over the factor with the other two fixed, mean over tasks; a fraction of 1.
        number: Values of the factor.
    """

    factor: str
    deviation: float
    number: int


@dataclass(frozen=True)
class Sensitivity:
    """How a row's score varies.

    Args:
        by_normalization: Mean score over all conditions, by each normalisation of the same log-probabilities.
    """

    row: Row
    variations: tuple[Variation, ...]
    by_normalization: Mapping[str, float]


def sensitivities(table: Table) -> Iterator[Sensitivity]:
    """Measure how the scores vary of each row that was run in several orders of its shots."""
    for row in table.rows:
        if len({setting.order(record) for record in row.records}) > 1:
            yield Sensitivity(row, tuple(_variations(row)), _normalised(row.records))


def _variations(row: Row) -> Iterator[Variation]:
    by_task = [_scores(spread) for spread in row.spreads.values()]
    for factor, name in enumerate(FACTORS):
        deviations = [deviation for scores in by_task for deviation in _deviations(scores, factor)]
        number = len({condition[factor] for scores in by_task for condition in scores})
        if deviations:
            yield Variation(name, statistics.fmean(deviations), number)


def _scores(spread: Spread) -> dict[Condition, float]:
    return {
        (setting.order(record), record.seed, result.template): result.value()
        for record in spread.records
        for result in record.results
    }


def _deviations(scores: dict[Condition, float], factor: int) -> Iterator[float]:
    """Yield the standard deviation over one factor for each combination of the other two."""

    def others(condition: Condition) -> tuple[int, ...]:
        return condition[:factor] + condition[factor + 1 :]

    for _, group in itertools.groupby(sorted(scores, key=others), key=others):
        values = [scores[condition] for condition in group]
        if len(values) > 1:
            yield statistics.stdev(values)


def _normalised(records: Sequence[Record]) -> dict[str, float]:
    results = [result for record in records for result in record.results]
    known = [name for name in NORMALIZATIONS if all(name in _scored(result) for result in results)]
    return {name: statistics.fmean(result.value(name) for result in results) for name in known}


def _scored(result: TemplateResult) -> Collection[Normalization]:
    """Return the normalisations whose score a result has."""
    return result.num_correct if result.values is None else result.values
