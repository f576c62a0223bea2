"""Tables as text: the terminal, Markdown and LaTeX."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import zip_longest

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from peftbench.costs.prices.quotes import Quote
from peftbench.report.evidence.money import PricedRows
from peftbench.report.formats import escape, money_text
from peftbench.report.formats.columns import Column, against_full, of_subsets, per_task, summary
from peftbench.report.formats.drawing import draw
from peftbench.report.notes import money as notes
from peftbench.report.notes.document import Document
from peftbench.report.rows.table import Row, Table
from peftbench.report.rows.units import ABSENT

INTERVALS = "score_interval"
"""Field that LaTeX tables are without, as the paper's are."""
INDENT = " "
"""Of what goes on from the line above, in a cell."""


def terminal(document: Document, console: Console) -> str:
    """Draw the tables for a terminal; readable without colour, and at 100 columns."""
    parts: list[RenderableType] = []
    shown: set[str] = set()
    for table, priced in zip_longest(document.tables, document.money):
        parts.append(Text(table.title, style="bold"))
        for columns in _layouts(table):
            parts += grids(columns, console.width)
            shown |= {column.name for column in _that_fit(columns, console.width)}
        parts += money_tables(priced, priced.shown, console.width) if priced else []
    parts += [note(text, "") for text in document.findings]
    hidden = document.of_columns.keys() - shown
    missing = [
        f"{title}: there is no room for it at {console.width} columns; --format md has it"
        for title in _titles(document, hidden)
    ]
    parts += [note(text, "dim") for text in [*_conventions(document, hidden), *missing]]
    return draw(console, parts)


def grids(columns: Sequence[Column], width: int) -> list[RenderableType]:
    """Lay columns out as tables that fit the width, an empty line after each."""
    return [part for group in _fitted(columns, width) for part in (_grid(group, width), "")]


def markdown(document: Document) -> str:
    """Write the tables as GitHub Markdown."""
    parts = []
    for table, priced in zip_longest(document.tables, document.money):
        parts.append(f"**{escape.markdown(table.title)}**\n")
        parts += [markdown_table(columns) for columns in _layouts(table)]
        parts += money_markdown(priced, priced.shown) if priced else []
    parts.append("".join(f"- {escape.markdown(text)}\n" for text in (*document.findings, *document.conventions)))
    return "\n".join(parts)


def money_tables(priced: PricedRows, quotes: Sequence[Quote], width: int) -> list[RenderableType]:
    """Lay out as tables that fit the width what offers for rows come to."""
    if not quotes:
        return []
    title = Text(notes.title(priced.money), style="bold")
    return [title, *grids(money_text.of_rows(priced, quotes), width)]


def money_markdown(priced: PricedRows, quotes: Sequence[Quote]) -> list[str]:
    """Write the same as Markdown."""
    if not quotes:
        return []
    return [f"**{escape.markdown(notes.title(priced.money))}**\n", markdown_table(money_text.of_rows(priced, quotes))]


def latex(document: Document) -> str:
    """Write the tables as LaTeX, rows and numbers as in the paper: what was tuned first, ranges as subscripts."""
    parts = ["% \\usepackage{booktabs}\n"]
    for table in document.tables:
        ordered = replace(table, rows=tuple(sorted(table.rows, key=_place)))
        parts.append(f"% {escape.line(table.title)}\n")
        layouts = _layouts(ordered)
        parts += [latex_table([column for column in columns if column.name != INTERVALS]) for columns in layouts]
    notes = (*document.findings, *_conventions(document, {INTERVALS}))
    parts.append("".join(f"% {escape.line(text)}\n" for text in notes))
    return "\n".join(parts)


def _conventions(document: Document, hidden: Set[str]) -> list[str]:
    """List the conventions but for those of hidden columns."""
    left_out = {text for name in hidden for text in document.of_columns[name]}
    return [text for text in document.conventions if text not in left_out]


def _titles(document: Document, hidden: Set[str]) -> Iterator[str]:
    """List what the hidden columns hold, but for those that are empty in all rows."""
    for name in sorted(hidden):
        for text in document.of_columns[name][:1]:
            title, _, convention = text.partition(": ")
            if not convention.startswith(f"{ABSENT} because"):
                yield title


def _place(row: Row) -> int:
    """Sort as the paper's Table 1 does: tuned, zero-shot, in-context learning."""
    return 2 if row.is_icl else 1 - row.is_tuned


def _layouts(table: Table) -> list[list[Column]]:
    """Lay out the means over tasks, where there are several the tasks, their parts, and transfer beside full tuning."""
    parts = of_subsets(table)  # which repeats the tasks
    tasks = [per_task(table)] if len(table.tasks) > 1 and not parts else []
    return [columns for columns in (summary(table.rows), *tasks, parts, against_full(table)) if columns]


def _fitted(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Cut columns into as few parts as fit the width; each part begins with the columns that are keys."""
    columns = _that_fit(columns, width)
    keys = [column for column in columns if column.is_key]
    parts = [keys]
    for column in columns[len(keys) :]:
        if len(parts[-1]) > len(keys) and _width([*parts[-1], column]) > width:
            parts.append(keys)
        parts[-1] = [*parts[-1], column]
    return parts


def _that_fit(columns: Sequence[Column], width: int) -> Sequence[Column]:
    """Leave out spare columns, the first one first, until all fit the width with room to read."""
    for spare in sorted(column.spare for column in columns if column.spare):
        if sum(column.good_width + 1 for column in columns) - 1 > width:
            columns = [column for column in columns if column.spare != spare]
    return columns


def _width(columns: Sequence[Column]) -> int:
    return sum(column.least_width + 1 for column in columns) - 1


def _grid(columns: Sequence[Column], width: int) -> RichTable:
    """Draw columns two spaces apart, one where the width does not allow two."""
    # The box itself puts one space between columns.
    is_roomy = sum(column.width + 2 for column in columns) - 2 <= width
    grid = RichTable(
        box=SIMPLE_HEAD, padding=(0, int(is_roomy), 0, 0), pad_edge=False, header_style="", show_edge=False
    )
    height = max(len(column.header) for column in columns)
    spare, folded = max(width - _width(columns), 0), []
    for column in columns:
        extra = min(column.width - column.least_width, spare)
        spare -= extra
        grid.add_column(
            Text("\n" * (height - len(column.header)) + escape.terminal("\n".join(column.header)), style="bold"),
            justify="left" if column.is_text else "right",
            overflow="fold",
            no_wrap=column.fold_at is None,
            width=column.least_width + extra,
        )
        folded.append(
            [
                _folded(value, column.least_width + extra) if column.fold_at else value
                for value in map(escape.line, column.texts)
            ]
        )
    for values in zip(*folded, strict=True):
        grid.add_row(*(Text(value) for value in values))
    return grid


def _folded(value: str, width: int) -> str:
    """Break a text between words, and words that are too long where their parts end: num_virtual_ tokens=100."""
    fill = textwrap.TextWrapper(width, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False)
    return "\n".join(part for line in fill.wrap(value) for part in _broken(line, width))


def _broken(line: str, width: int) -> Iterator[str]:
    part = ""
    for piece in re.findall(r"[^_/=,-]+[_/=,-]*|[_/=,-]+", line) if len(line) > width else [line]:
        if part.strip() and len(part + piece) > width:
            yield part
            part = INDENT
        part += piece
    yield part


def note(text: str, style: str) -> RichTable:
    """Hang a note on a dash."""
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text("-", style=style), Text(escape.terminal(text), style=style))
    return grid


def markdown_table(columns: Sequence[Column]) -> str:
    """Write columns as a table of GitHub Markdown."""
    lines = [
        [" ".join(column.header) for column in columns],
        [":---" if column.is_text else "---:" for column in columns],
        *zip(*(column.texts for column in columns), strict=True),
    ]
    return "".join(f"| {' | '.join(_escaped(text) for text in line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    # Two tildes would strike a text through.
    return escape.markdown(text).replace("|", "\\|").replace("~", "\\~")


def latex_table(columns: Sequence[Column]) -> str:
    """Write columns as a table of LaTeX's."""
    rows = zip(*(_latex_cells(column) for column in columns), strict=True)
    spec = "".join("l" if column.is_text else "r" for column in columns)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            _latex_row([escape.latex(" ".join(column.header)) for column in columns]),
            r"\midrule",
            *(_latex_row(row) for row in rows),
            r"\bottomrule",
            "\\end{tabular}\n",
        ]
    )


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cells(column: Column) -> list[str]:
    """Write a column's values, their spreads as subscripts."""
    values = [escape.latex(value) for value in column.values]
    if not column.spreads:
        return values
    pairs = zip(values, column.spreads, strict=True)
    return [f"{value}$_{{{spread}}}$" if spread else value for value, spread in pairs]
