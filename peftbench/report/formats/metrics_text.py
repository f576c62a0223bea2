"""Rows under several metrics, a column for each, as papers on generation print them."""

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.report.evidence.rescored import Scored
from peftbench.report.formats import columns, data, escape
from peftbench.report.formats.columns import Column
from peftbench.report.formats.drawing import draw
from peftbench.report.formats.text import grids, latex_table, markdown_table, note
from peftbench.report.notes.document import Document


def document(scored: Sequence[Scored]) -> Document:
    """Return all tables as those of a report, for JSON: one for each task and metric."""
    tables = tuple(table for of_task in scored for table in of_task.tables)
    return Document(tables, tuple(_findings(scored)), tuple(_conventions(scored)))


def to_csv(scored: Sequence[Scored]) -> str:
    """Write a line for each task and row, with columns of each metric's name."""
    lines = []
    for of_task in scored:
        for rows in zip(*(table.rows for table in of_task.tables), strict=True):
            of_metrics = [data.lines_of(*pair)[0] for pair in zip(of_task.tables, rows, strict=True)]
            lines.append({name: value for line in of_metrics for name, value in line.items()})
    return data.csv_of(lines)


def terminal(scored: Sequence[Scored], console: Console) -> str:
    """Draw a table for each task for a terminal."""
    parts: list[RenderableType] = []
    for of_task in scored:
        parts += [Text(of_task.plain.title, style="bold"), *grids(_columns(of_task), console.width)]
    parts += [note(text, "") for text in _findings(scored)]
    return draw(console, [*parts, *(note(text, "dim") for text in _conventions(scored))])


def markdown(scored: Sequence[Scored]) -> str:
    """Write the same as GitHub Markdown."""
    parts = [f"**{escape.markdown(part.plain.title)}**\n\n{markdown_table(_columns(part))}" for part in scored]
    return "\n".join([*parts, "".join(f"- {escape.markdown(text)}\n" for text in _notes(scored))])


def latex(scored: Sequence[Scored]) -> str:
    """Write the same as LaTeX, ranges as subscripts."""
    parts = [f"% {escape.line(part.plain.title)}\n\n{latex_table(_columns(part))}" for part in scored]
    notes = "".join(f"% {escape.line(text)}\n" for text in _notes(scored))
    return "\n".join(["% \\usepackage{booktabs}\n", *parts, notes])


def _columns(scored: Scored) -> list[Column]:
    """Lay out what says which row it is, its trained parameters, each metric, and over how many medians are taken."""
    parameters = columns.select(scored.plain.rows, "num_trained_parameters")
    scores = [column for table in scored.tables for column in columns.select(table.rows, "score_median")]
    pooled = columns.select(scored.plain.rows, "pooled")
    return [*parameters, *(column for column in (*scores, *pooled) if not column.is_key)]


def _notes(scored: Sequence[Scored]) -> list[str]:
    return [*_findings(scored), *_conventions(scored)]


def _findings(scored: Sequence[Scored]) -> Iterator[str]:
    yield from (f"left out: {text}" for of_task in scored for text in of_task.left_out)


def _conventions(scored: Sequence[Scored]) -> Iterator[str]:
    metrics = {table.metric.name: table.metric for of_task in scored for table in of_task.tables}
    titles = ", ".join(metric.title for metric in metrics.values())
    if titles:
        yield (
            f"{titles}: of the outputs that records keep, scored anew against the task's references; median "
            "(interquartile range) over templates x seeds; no metric is averaged over tasks"
        )
    if lower := [metric.title for metric in metrics.values() if not metric.higher_is_better]:
        yield f"{', '.join(lower)}: lower is better"
