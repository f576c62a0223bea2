"""A whole report: its tables, what stands under them, and the command to type next."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from peftbench.costs.prices.read import Prices
from peftbench.errors import RecordError
from peftbench.report.evidence.break_even import break_evens
from peftbench.report.evidence.crossing import crossings
from peftbench.report.evidence.money import PricedRows, of_rows
from peftbench.report.notes import break_even, crossing, money, remarks
from peftbench.report.rows.folds import join
from peftbench.report.rows.table import Table, build, common_model
from peftbench.store.record import Record

MANY = 3
"""Tasks after the first one from which on notes count them."""


@dataclass(frozen=True)
class Document:
    """Tables and the notes under them.

    Args:
        findings: What follows from the rows, and what must not be read into them.
        conventions: How the numbers were had.
        money: What the rows of each table cost in money; none where no prices were given.
        of_columns: Those of the conventions that go without saying where a column is not shown, by its field's name.
    """

    tables: tuple[Table, ...]
    findings: tuple[str, ...]
    conventions: tuple[str, ...]
    of_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    money: tuple[PricedRows, ...] = ()


def compose(
    records: Sequence[Record],
    published: Sequence[Table] = (),
    left_out: Sequence[str] = (),
    prices: Prices | None = None,
) -> Document:
    """Make a report from records, published rows after them.

    Args:
        records: All that can be read; those of the folds of a split are joined here, if they are not yet.
        published: Tables of a paper.
        left_out: What is wrong with each record that could not be read, and with each split that lacks a fold.
        prices: By which rows are priced in money, published ones left out; None for no money.

    Raises:
        RecordError: There is nothing to report.
    """
    records, incomplete = join(records)
    left_out = [*left_out, *incomplete]
    if not records and incomplete and not published:
        raise RecordError(incomplete[0], hint="a row of the report is over all rows, and so takes all folds of a split")
    if not records and not published:
        raise RecordError("there are no records to report", hint="`peftbench icl --shots 32` makes the first ones")
    built = build(records)
    named = Counter(task.name for table in built for task in table.tasks)
    tables = [replace(table, title=_title(table, named)) for table in built]
    crossed = [list(crossings(table)) for table in tables]
    priced = tuple(of_rows(table.rows, prices) for table in tables) if prices else ()
    findings = [f"left out: {text}" for text in left_out]
    for table, of_table in zip(tables, crossed, strict=True):
        place = f"{_place(table, named)}: " if len(tables) > 1 else ""
        findings += [f"{place}break-even: {text}" for text in break_even.sentences(break_evens(table))]
        findings += [f"{place}learning curves: {crossing.sentence(curves)}" for curves in of_table]
        findings += [f"{place}{text}" for text in remarks.sensitivity(table)]
        findings += remarks.cautions(table, place)
    for table, rows in zip(tables, priced, strict=False):
        place = f"{_place(table, named)}: " if len(tables) > 1 else ""
        findings += [f"{place}money: {text}" for text in money.findings(rows)]
    conventions = remarks.conventions(tables) if tables else []
    conventions += [text for rows in priced for text in money.conventions(rows.money)]
    conventions += [crossing.CONVENTION] if any(crossed) else []
    of_columns = {
        "score_interval": tuple(remarks.intervals(tables)),
        "accuracy_median": tuple(remarks.beside(tables)),
    }
    tables += published
    conventions += [text for table in published for text in table.notes]
    unique = tuple(dict.fromkeys(conventions))
    return Document(tuple(tables), tuple(dict.fromkeys(findings)), unique, of_columns, priced)


def _title(table: Table, named: Counter[str]) -> str:
    """Name the tasks, and the model where there is one; of a name that stands for several sets of rows, say which."""
    names = ", ".join(_names(table, named))
    title = f"Task: {names}" if len(table.tasks) == 1 else f"Mean over {len(table.tasks)} tasks: {names}"
    title += "; by folds of the labelled rows, not the leaderboard's" if remarks.stand_in(table) else ""
    model = common_model(table.rows)
    return f"{title}; model: {model}" if model else title


def _place(table: Table, named: Counter[str]) -> str:
    """Name a table where there are several: its tasks, or of many the first."""
    first, *others = _names(table, named)
    return ", ".join([first, *others]) if len(others) < MANY else f"{first} and {len(others)} more tasks"


def _names(table: Table, named: Counter[str]) -> list[str]:
    return [
        f"{task.name} [{task.num_examples} rows, data {task.sha256[:6]}]" if named[task.name] > 1 else task.name
        for task in table.tasks
    ]
