"""Tables as text: the terminal, Markdown and LaTeX."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from peftbench.report.columns import Column, per_task, summary
from peftbench.report.document import Document
from peftbench.report.table import Table

LATEX_SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "~": r"$\sim$",
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",
}


def terminal(document: Document, console: Console) -> str:
    """Draw the tables for a terminal; readable without colour, and at 100 columns."""
    with console.capture() as captured:
        for table in document.tables:
            console.print(Text(table.title, style="bold"), "")
            console.print(_drawn(summary(table.rows), console), "")
            for tasks in _chunks(table, console) if len(table.tasks) > 1 else []:
                console.print(_drawn(tasks, console), "")
        for note in document.findings:
            console.print(_note(note, ""))
        for note in document.conventions:
            console.print(_note(note, "dim"))
    text = captured.get()
    return text if console.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def markdown(document: Document) -> str:
    """Write the tables as GitHub Markdown."""
    parts = []
    for table in document.tables:
        parts.append(f"**{table.title}**\n")
        parts += [_markdown_table(columns) for columns in _both(table)]
    parts.append("".join(f"- {note}\n" for note in (*document.findings, *document.conventions)))
    return "\n".join(parts)


def latex(document: Document) -> str:
    """Write the tables as LaTeX; needs the booktabs package."""
    parts = []
    for table in document.tables:
        parts.append(f"% {table.title}\n")
        parts += [_latex_table(columns) for columns in _both(table)]
    parts.append("".join(f"% {note}\n" for note in (*document.findings, *document.conventions)))
    return "\n".join(parts)


def _both(table: Table) -> list[list[Column]]:
    tasks = [per_task(table, table.tasks)] if len(table.tasks) > 1 else []
    return [summary(table.rows), *tasks]


def _drawn(columns: Sequence[Column], console: Console) -> RichTable:
    """Draw columns two spaces apart, one where the console is too narrow for two."""
    # The box itself puts one space between columns.
    padding = (0, 1 if _width(columns, gap=2) <= console.width else 0, 0, 0)
    grid = RichTable(box=SIMPLE_HEAD, padding=padding, pad_edge=False, header_style="", show_edge=False)
    for column in columns:
        justify = "left" if column.is_text else "right"
        header = Text("\n".join(column.header), style="bold")
        grid.add_column(header, justify=justify, vertical="bottom", overflow="fold", no_wrap=not column.may_fold)
    for values in zip(*(column.values for column in columns), strict=True):
        grid.add_row(*(Text(value) for value in values))
    return grid


def _chunks(table: Table, console: Console) -> list[list[Column]]:
    """Cut the tasks into as few tables as fit the console's width."""
    chunks: list[list[Column]] = []
    tasks = list(table.tasks)
    while tasks:
        count = len(tasks)
        while count > 1 and _width(per_task(table, tasks[:count])) > console.width:
            count -= 1
        chunks.append(per_task(table, tasks[:count]))
        tasks = tasks[count:]
    return chunks


def _width(columns: Sequence[Column], gap: int = 1) -> int:
    return sum(gap + max(len(text) for text in (*column.header, *column.values)) for column in columns) - gap


def _note(note: str, style: str) -> RichTable:
    """Hang a note on a dash."""
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text("-", style=style), Text(note, style=style))
    return grid


def _markdown_table(columns: Sequence[Column]) -> str:
    lines = [
        [" ".join(column.header) for column in columns],
        [":---" if column.is_text else "---:" for column in columns],
        *zip(*(column.values for column in columns), strict=True),
    ]
    return "".join(f"| {' | '.join(_escaped(text) for text in line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    # Two tildes would strike a text through.
    return text.replace("|", "\\|").replace("~", "\\~")


def _latex_table(columns: Sequence[Column]) -> str:
    rows = zip(*(column.values for column in columns), strict=True)
    spec = "".join("l" if column.is_text else "r" for column in columns)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            _latex_row([" ".join(column.header) for column in columns]),
            r"\midrule",
            *(_latex_row(row) for row in rows),
            r"\bottomrule",
            "\\end{tabular}\n",
        ]
    )


def _latex_row(values: Sequence[str]) -> str:
    return " & ".join("".join(LATEX_SPECIAL.get(c, c) for c in value) for value in values) + r" \\"
