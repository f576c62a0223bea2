"""A report as one HTML file that needs nothing else: its table, its pictures, its recipe."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftbench import __version__
from peftbench.costs.prices.quotes import Quote
from peftbench.report.evidence.break_even import BreakEven, break_evens
from peftbench.report.evidence.money import PricedRows
from peftbench.report.formats import money_text, recipe
from peftbench.report.formats.columns import Column
from peftbench.report.notes import money as notes
from peftbench.report.notes.break_even import queries, rival
from peftbench.report.notes.document import Document
from peftbench.report.pictures import colors, figures, strips, svg
from peftbench.report.rows import fields, names, units
from peftbench.report.rows.field import Field
from peftbench.report.rows.table import Row, Table

if TYPE_CHECKING:
    from jinja2 import Template

FOLDER = Path(__file__).parent / "web"


def html(document: Document) -> str:
    """Write a report as one HTML file: no network, no other file.

    About 15 kB of it are style, script and frame; the script is peftbench's own, there is no library in it.
    """
    from markupsafe import Markup

    style, script = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    records = [record for table in document.tables for row in table.rows for record in row.records]
    days = sorted(record.created_at[:10] for record in records)
    made_by = sorted({f"{name} {version}" for record in records for name, version in record.versions.items()})
    return template("page.html").render(
        version=__version__,
        lead=_lead(document),
        style=Markup(style),
        script=Markup(script),
        mark=lambda color=None, shape=None: Markup(svg.legend_mark(color, shape)),
        stroke=lambda color, dashes: Markup(svg.legend_line(color, dashes)),
        sections=[_section(table, priced) for table, priced in zip_longest(document.tables, document.money)],
        num_queries=figures.NUM_QUERIES,
        start=12,
        findings=document.findings,
        conventions=document.conventions,
        recipe=recipe.recipe(document.tables),
        versions=", ".join(made_by),
        num_records=f"{sum(len(record.ids) for record in records):,}",
        dates=" to ".join(dict.fromkeys([days[0], days[-1]])) if days else "",
    )


def template(name: str) -> "Template":
    """Read the frame of a page: what is put into it is text, unless it is marked as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(FOLDER)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=False).get_template(name)


def _lead(document: Document) -> str:
    rows = [row for table in document.tables for row in table.rows if not row.published]
    models = ", ".join(dict.fromkeys(row.model for row in rows))
    return (
        "In-context learning or parameter-efficient fine-tuning: how accurate each is, and what it costs"
        + (f", on {models}." if models else ".")
        + " Headers sort the table; points tell their records."
    )


def _section(table: Table, priced: PricedRows | None = None) -> dict[str, Any]:
    from markupsafe import Markup

    hues, shapes = colors.of_series(table), colors.of_models(table)
    columns, by_task = fields.summary(table), fields.per_task(table)
    return {
        "title": table.title,
        "columns": columns,
        "rows": [[_cell(column, row, hues) for column in columns] for row in table.rows],
        "by_task": by_task,
        "task_rows": [[_cell(column, row, hues) for column in by_task] for row in table.rows],
        "series": list(hues.items()),
        "models": list(shapes.items()),
        "figures": [
            {
                "name": figure.name,
                "title": figure.title,
                "note": figure.note,
                "svg": Markup(svg.draw(figure, hues, shapes)),
                "lines": [(line.name, hues[line.series], line.dashes) for line in figures.named_lines(figure)],
            }
            for figure in figures.figures(table)
        ],
        "strips": [
            {
                "title": strip.task,
                "note": "" if strip.chance is None else f"chance {units.percent(strip.chance)}",
                "svg": Markup(svg.draw_strip(strip, hues)),
            }
            for strip in strips.strips(table)
        ],
        "paid": [line for pair in break_evens(table) for line in _paid(pair)],
        "money": money_table(priced, priced.shown) if priced and priced.shown else None,
    }


def money_table(priced: PricedRows, quotes: Sequence[Quote]) -> dict[str, Any]:
    """Lay out what offers for rows come to."""
    return {"title": notes.title(priced.money), "columns": cells(money_text.of_rows(priced, quotes))}


def cells(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Lay out columns of text."""
    return [{"title": " ".join(column.header), "is_text": column.is_text, "cells": column.texts} for column in columns]


def _paid(pair: BreakEven) -> Iterator[dict[str, Any]]:
    against = f"{names.title(pair.tuned)} against {rival(pair)}"
    yield {"queries": "" if pair.plain is None else pair.plain, "text": f"{against}: {queries(pair.plain)}"}
    if pair.has_cached:
        text = f"{against}, shots cached: {queries(pair.cached)}"
        yield {"queries": "" if pair.cached is None else pair.cached, "text": text}


def _cell(column: Field, row: Row, hues: Mapping[str, int]) -> dict[str, Any]:
    value = column.sort_by(row) if column.sort_by else None
    return {
        "text": column.text(row),
        "is_text": column.is_text,
        "value": "" if value is None else f"{value:.10g}",
        "color": hues[row.method] if column.title == "method" else None,
    }
