"""A decision as one HTML file that needs nothing else: the sentence, the picture with its slider, the table."""

import math
from collections.abc import Iterator
from typing import Any

from peftbench import __version__
from peftbench.report.evidence.candidates import Candidate
from peftbench.report.evidence.choices import Choice
from peftbench.report.formats import decide_text
from peftbench.report.notes import decision as notes
from peftbench.report.notes.decision import Answer
from peftbench.report.pictures import colors, figures, page, svg
from peftbench.report.pictures.figures import CHANCE, Figure, Point
from peftbench.report.rows import names, texts, units
from peftbench.report.rows.table import Interval, Row

MAX_QUERIES = 10_000_000
"""Where the slider ends, unless more were asked for."""
STEPS = 4
"""Of the slider, for ten times as many queries."""


def html(answer: Answer) -> str:
    """Write a decision as one HTML file: no network, no other file.

    What holds from how many queries on is computed here; the script puts the number in and moves the points.
    """
    from markupsafe import Markup

    style, *scripts = (
        Markup((page.FOLDER / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js", "decide.js")
    )
    decision, drawn = answer.decision, figure(answer)
    hues, shapes = colors.of_series(decision.table), colors.of_models(decision.table)
    first, *rest = decide_text.said(answer)
    return page.template("decide.html").render(
        version=__version__,
        style=style,
        scripts=scripts,
        sentence=first,
        lacking=rest,
        tables=_tables(answer),
        figure=drawn and {"note": drawn.note, "title": drawn.title, "svg": Markup(svg.draw(drawn, hues, shapes))},
        series=[(name, Markup(svg.legend_mark(color))) for name, color in hues.items()],
        num_queries=decision.num_queries,
        start=f"{STEPS * math.log10(decision.num_queries):.9f}",
        end=math.ceil(STEPS * math.log10(max(MAX_QUERIES, decision.num_queries))),
        line=notes.line(decision),
        by_queries=decide_text.by_queries(answer),
        would_change=list(notes.would_change(answer)),
        uncertain=list(notes.uncertain(answer)),
        conventions=decide_text.conventions(answer),
        command=answer.command,
    )


def figure(answer: Answer) -> Figure | None:
    """Draw accuracies with their intervals against what all queries cost; None where no price is known."""
    decision = answer.decision
    points = [
        point
        for choice, candidate in zip(decision.choices, decision.candidates, strict=True)
        for point in _points(answer, choice, candidate)
    ]
    if not points:
        return None
    levels = [(decision.table.tasks[0].chance, CHANCE)]
    if decision.majority:
        levels.append((decision.majority.share, notes.always(answer)))
    title = f"total FLOPs after {decision.num_queries:,} queries"
    return Figure(
        "total",
        f"Accuracy against {title}",
        "Training, or filling the cache, and all queries. Hollow: with the shots' keys and values in a cache. "
        "The best tuned and the best prompted are corrected for having been chosen.",
        figures.totals(title, points, decision.num_queries),
        figures.scores("accuracy %", points, levels),
        tuple(points),
        levels=tuple(levels),
    )


def _points(answer: Answer, choice: Choice, candidate: Candidate) -> Iterator[Point]:
    """Yield a candidate's point, and a hollow one where its prompt can be cached."""
    row = choice.row
    value, interval, details = _shown(answer, candidate)
    totals = [("training_flops", "inference_flops_per_example", choice.flops)]
    if choice.cached_flops is not None:
        totals.append(("cache_flops", "cached_inference_flops_per_example", choice.cached_flops))
    for place, (once, query, flops) in enumerate(totals):
        if flops is not None:
            yield Point(
                x=flops,
                y=value,
                interval=interval,
                series=row.method,
                model=row.model,
                label=_label(row) + (", cached" if place else ""),
                details=details + ("\nwith cached keys and values of the shots" if place else ""),
                is_hollow=bool(place),
                once=(row.cost(once) or 0) + (row.cost("index_flops") or 0),
                per_query=row.cost(query),
            )


def _shown(answer: Answer, candidate: Candidate) -> tuple[float, Interval, str]:
    """Return a point's accuracy, its interval, what it is in full: corrected where it is the best of a side."""
    lines = [names.full(candidate.row), f"accuracy {units.percent(candidate.accuracy)} %"]
    value, interval = candidate.accuracy, candidate.interval
    for best in (answer.decision.tuned, answer.decision.prompted):
        if best and best.candidate is candidate:
            value, interval = best.estimate.value, best.estimate.interval
            lines.append(f"corrected for being the best of {best.num_candidates}: {units.percent(value)} %")
    return value, interval, "\n".join([*lines, f"95 % interval {texts.interval(interval)}"])


def _label(row: Row) -> str:
    shots = f" {names.shots(row)}" if row.is_icl else ""
    return f"{row.method}{shots} {names.short(row)}".rstrip()


def _tables(answer: Answer) -> list[dict[str, Any]]:
    """Lay out what could be chosen, and where prices were given what the best come to in money."""
    tables = [{"title": "What could be chosen, cheapest first", "columns": page.cells(decide_text.table(answer))}]
    if answer.money and answer.money.money.quotes:
        tables.append(page.money_table(answer.money, answer.money.money.quotes))
    return tables
