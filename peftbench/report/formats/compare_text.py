"""A comparison as people and programs read it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.report.evidence.compare import Comparison, Line
from peftbench.report.evidence.significance import ALPHA, NUM_DRAWS
from peftbench.report.formats.columns import Column
from peftbench.report.formats.text import draw, grids, note
from peftbench.report.rows import units
from peftbench.report.rows.confidence import CONFIDENCE
from peftbench.report.rows.select import Side
from peftbench.report.rows.units import points, probability

SCHEMA_VERSION = 1
TASK_WIDTH = 15
"""Characters beyond which a task's name may fold."""


def terminal(comparison: Comparison, console: Console) -> str:
    """Draw a comparison for a terminal; readable without colour, and at 100 columns."""
    parts: list[RenderableType] = [
        *(f"{letter}: {_side(one)}" for letter, one in (("A", comparison.a), ("B", comparison.b))),
        comparison.paired,
        "",
        *grids(_columns(comparison), console.width),
        Text(comparison.verdict, style="bold"),
        "",
        *(note(text, "") for text in comparison.findings),
        *(note(text, "dim") for text in comparison.conventions),
    ]
    return draw(console, parts)


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Give a comparison as one JSON object; its `schema_version` changes when a field changes its meaning.

    Accuracies, differences and intervals are shares, 0 to 1; `difference` is accuracy_b - accuracy_a.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "a": _facts(comparison.a),
        "b": _facts(comparison.b),
        "tasks": [_line(line) for line in comparison.lines],
        "mean": _line(comparison.mean) if comparison.mean else None,
        "is_different": comparison.overall.is_different,
        "verdict": comparison.verdict,
        "alpha": ALPHA,
        "confidence": CONFIDENCE,
        "correction": "Holm" if comparison.mean else None,
        "num_draws": NUM_DRAWS,
        "paired": comparison.paired,
        "findings": list(comparison.findings),
        "conventions": list(comparison.conventions),
    }


def _side(one: Side) -> str:
    if one.is_record:
        seed = "" if one.draws_nothing else f", seed {one.first.seed}"
        return f"{one.title}: record {one.word}{seed}"
    return f"{one.title}: {one.word}, {len(one.kept)} record{'s' * (len(one.kept) > 1)}"


def _facts(one: Side) -> dict[str, Any]:
    return {"name": one.word, "title": one.title, "records": [each.record.id for each in one.kept]}


def _line(line: Line) -> dict[str, Any]:
    return asdict(line) | {"is_different": line.is_different}


def _columns(comparison: Comparison) -> list[Column]:
    lines = [*comparison.lines, *([comparison.mean] if comparison.mean else [])]

    def column(*header: str, of: Callable[[Line], str], is_text: bool = False) -> Column:
        return Column(header, tuple(of(line) for line in lines), is_text=is_text)

    names = tuple(line.task or "mean" for line in lines)
    corrected = [column("p", "Holm", of=lambda line: probability(line.p_corrected) if line.task else units.ABSENT)]
    return [
        Column(("task",), names, is_text=True, is_key=True, fold_at=TASK_WIDTH),
        column("n", of=lambda line: f"{line.num_examples:,}"),
        column("A %", of=lambda line: units.percent(line.accuracy_a)),
        column("B %", of=lambda line: units.percent(line.accuracy_b)),
        column("B - A", "points", of=lambda line: points(line.difference)),
        column("95 %", "interval", of=_interval),
        *_ahead(lines),
        column("p", of=lambda line: probability(line.p_value)),
        *(corrected if comparison.mean else []),
        column("difference", "shown", of=_shown, is_text=True),
    ]


def _ahead(lines: Sequence[Line]) -> list[Column]:
    is_single = all(line.num_templates == line.num_seeds == 1 for line in lines if line.task)
    headers = (("only A", "right"), ("only B", "right")) if is_single else (("A", "ahead"), ("B", "ahead"))
    counts = [tuple(f"{line.num_a_ahead:,}" for line in lines), tuple(f"{line.num_b_ahead:,}" for line in lines)]
    return [Column(header, values) for header, values in zip(headers, counts, strict=True)]


def _interval(line: Line) -> str:
    return f"{points(line.interval[0])} to {points(line.interval[1])}" if line.interval else units.ABSENT


def _shown(line: Line) -> str:
    if not line.is_different:
        return "no"
    return "B better" if line.difference > 0 else "A better"
