"""What a row's accuracy hangs on beside what was learned: the shots' order, the template, the shots, the length."""

import itertools
import statistics
from collections.abc import Iterator, Sequence

from peftbench.report.rows import names, setting, units
from peftbench.report.rows.table import Row, Spread, Table
from peftbench.store.record import Normalization, Record

Place = tuple[int, int, int]
"""Order of the shots, seed that drew them, template."""
FACTORS = ("orders of the same shots", "draws of the shots", "templates")
NORMALIZATIONS: tuple[Normalization, ...] = ("token", "char", "byte", "none")


def notes(table: Table) -> Iterator[str]:
    """Say for each row that was run in several orders how far each of these moves its accuracy."""
    for row in table.rows:
        records = [record for spread in row.spreads.values() for record in spread.records]
        if len({setting.order(record) for record in records}) > 1:
            name = f"{names.title(row)}, {names.shots(row)} shots"
            yield f"{name}: {_moves(row)}"
            yield f"{name}: mean accuracy by length normalisation: {_normalised(records)}"


def _moves(row: Row) -> str:
    """Write the standard deviations, over one of the three with the other two held."""
    by_task = [_accuracies(spread) for spread in row.spreads.values()]
    texts = []
    for factor, name in enumerate(FACTORS):
        found = [value for cells in by_task for value in _deviations(cells, factor)]
        number = len({place[factor] for cells in by_task for place in cells})
        if found:
            texts.append(f"{units.percent(statistics.fmean(found))} over {number} {name}")
    return f"standard deviation of accuracy, in points, the others held: {', '.join(texts)}"


def _accuracies(spread: Spread) -> dict[Place, float]:
    return {
        (setting.order(record), record.seed, result.template): result.accuracy()
        for record in spread.records
        for result in record.results
    }


def _deviations(cells: dict[Place, float], factor: int) -> Iterator[float]:
    def held(place: Place) -> tuple[int, ...]:
        return place[:factor] + place[factor + 1 :]

    for _, group in itertools.groupby(sorted(cells, key=held), key=held):
        values = [cells[place] for place in group]
        if len(values) > 1:
            yield statistics.stdev(values)


def _normalised(records: Sequence[Record]) -> str:
    """Write the mean over tasks, templates, seeds and orders, by each normalisation of the same log-probabilities."""
    results = [result for record in records for result in record.results]
    shown = [name for name in NORMALIZATIONS if all(name in result.num_correct for result in results)]
    means = {name: statistics.fmean(result.accuracy(name) for result in results) for name in shown}
    return ", ".join(f"{name} {units.percent(mean)}" for name, mean in means.items())
