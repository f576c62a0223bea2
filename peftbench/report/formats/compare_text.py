"""A comparison as people and programs read it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench import registry
from peftbench.report.evidence.compare import Comparison, Line
from peftbench.report.evidence.significance import ALPHA, NUM_DRAWS
from peftbench.report.formats.columns import Column
from peftbench.report.formats.data import of_metric
from peftbench.report.formats.drawing import draw
from peftbench.report.formats.text import grids, note
from peftbench.report.notes.caveats import conventions
from peftbench.report.rows import units
from peftbench.report.rows.confidence import CONFIDENCE
from peftbench.report.rows.metric import ACCURACY, heading
from peftbench.report.rows.select import Selection
from peftbench.report.rows.units import points, probability

SCHEMA_VERSION = 2
TASK_WIDTH = 15
"""Characters beyond which a task's name may fold."""


def terminal(comparison: Comparison, findings: Sequence[str], console: Console) -> str:
    """Draw a comparison for a terminal; readable without colour, and at 100 columns.

    Args:
        comparison: Of A and B.
        findings: What must not be read into it.
        console: For its width and whether it has colours.
    """
    parts: list[RenderableType] = [
        f"A: {_selection(comparison.a)}",
        f"B: {_selection(comparison.b)}",
        paired(comparison),
        "",
        *_grids(comparison, console.width),
        Text(verdict(comparison), style="bold"),
        "",
        *(note(text, "") for text in findings),
        *(note(text, "dim") for text in conventions(comparison)),
    ]
    return draw(console, parts)


def to_json(comparison: Comparison, findings: Sequence[str]) -> dict[str, Any]:
    """Return a comparison as one JSON object; its `schema_version` changes when a field changes its meaning.

    Scores, differences and intervals are fractions of 1; `difference` is score_b - score_a.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "a": _facts(comparison.a),
        "b": _facts(comparison.b),
        "tasks": [_line(line) for line in comparison.lines],
        "mean": _line(comparison.mean) if comparison.mean else None,
        "is_different": comparison.overall and comparison.overall.is_different,
        "verdict": verdict(comparison),
        "alpha": ALPHA,
        "confidence": CONFIDENCE,
        "correction": "Holm" if len(comparison.lines) > 1 else None,
        "num_draws": NUM_DRAWS,
        "paired": paired(comparison),
        "findings": list(findings),
        "conventions": list(conventions(comparison)),
    }


def paired(comparison: Comparison) -> str:
    """Write what stands beside what."""
    by_task = comparison.pairs
    num_examples = sum(pairs.num_examples for pairs in by_task)
    num_answers = sum(pairs.num_examples * pairs.num_pairs for pairs in by_task)
    templates = [len(pairs.templates) for pairs in by_task]
    seeds = list(dict.fromkeys(pairs.seeds for pairs in by_task))
    named = f" ({', '.join(map(str, seeds[0]))})" if len(seeds) == 1 else ""
    tasks = f"{len(by_task)} tasks" if len(by_task) > 1 else f"task {by_task[0].task}"
    return (
        f"paired: {num_examples:,} examples of {tasks}, each under {_counted(templates, 'template')} and "
        f"{_counted([len(numbers) for numbers in seeds], 'seed')}{named}: {num_answers:,} answers of each side"
    )


def _counted(numbers: Sequence[int], noun: str) -> str:
    """Write how many there are on each task: 1 seed, 5 seeds, 3-5 seeds."""
    plural = "" if set(numbers) == {1} else "s"
    return f"{units.span(numbers)} {noun}{plural}"


def verdict(comparison: Comparison) -> str:
    """Write in one sentence whether A and B are different."""
    a, b, line, num_tasks = comparison.a, comparison.b, comparison.overall, len(comparison.lines)
    if line is None:
        titles = ", ".join(metric.title for metric in comparison.metrics)
        return f"No verdict over all {num_tasks} tasks: their metrics differ ({titles}). Each task has its own line."
    where = f"on the mean over {num_tasks} tasks" if num_tasks > 1 else f"on {line.task}"
    evidence = f"p = {probability(line.p_value)}".replace("= <", "< ")
    difference = f"{points(line.difference, line.metric.decimals)} {line.metric.difference_unit}"
    if line.interval:
        evidence = f"95 % interval {_interval(line)}, {evidence}"
    if not line.is_different:
        return (
            f"No difference shown {where} between A ({a.title}) and B ({b.title}): B minus A is "
            f"{difference} ({evidence})."
        )
    better, worse = f"A ({a.title})", f"B ({b.title})"
    if line.is_b_better:
        better, worse = worse, better
    how = "is right more often" if line.metric.name == ACCURACY else f"has the better {line.metric.title}"
    return f"Different {where}: {better} {how} than {worse}: B minus A is {difference} ({evidence})."


def _selection(selection: Selection) -> str:
    if selection.is_record:
        seed = "" if selection.is_zero_shot else f", seed {selection.first.seed}"
        return f"{selection.title}: record {selection.word}{seed}"
    number = len(selection.ids)
    return f"{selection.title}: {selection.word}, {number} record{'s' if number > 1 else ''}"


def _facts(selection: Selection) -> dict[str, Any]:
    return {"name": selection.word, "title": selection.title, "records": selection.ids}


def _line(line: Line) -> dict[str, Any]:
    return asdict(line) | {"metric": of_metric(line.metric), "is_different": line.is_different}


def _grids(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    """Draw a table for each metric, with its name above it where it is not accuracy alone."""
    for metric in comparison.metrics:
        lines = [line for line in (*comparison.lines, comparison.mean) if line and line.metric == metric]
        if comparison.metrics != [registry.metric(ACCURACY)]:
            yield Text(heading(metric), style="bold")
        yield from grids(_columns(lines, has_several=len(comparison.lines) > 1), width)


def _columns(lines: Sequence[Line], *, has_several: bool) -> list[Column]:
    """Lay out the lines of one metric."""
    unit, decimals = lines[0].metric.unit, lines[0].metric.decimals

    def column(*header: str, of: Callable[[Line], str], is_text: bool = False) -> Column:
        return Column(header, tuple(of(line) for line in lines), is_text=is_text)

    names = tuple(line.task or "mean" for line in lines)
    corrected = [column("p", "Holm", of=lambda line: probability(line.p_corrected) if line.task else units.ABSENT)]
    return [
        Column(("task",), names, is_text=True, is_key=True, fold_at=TASK_WIDTH),
        column("n", of=lambda line: f"{line.num_examples:,}"),
        column(f"A {unit}", of=lambda line: units.percent(line.score_a, decimals)),
        column(f"B {unit}", of=lambda line: units.percent(line.score_b, decimals)),
        column("B - A", lines[0].metric.difference_unit, of=lambda line: points(line.difference, decimals)),
        column("95 %", "interval", of=_interval),
        *_ahead(lines),
        column("p", of=lambda line: probability(line.p_value)),
        *(corrected if has_several else []),
        column("difference", "shown", of=_shown, is_text=True),
    ]


def _ahead(lines: Sequence[Line]) -> list[Column]:
    if lines[0].num_a_ahead is None:
        return []
    is_single = all(line.num_templates == line.num_seeds == 1 for line in lines if line.task)
    headers = (("only A", "right"), ("only B", "right")) if is_single else (("A", "ahead"), ("B", "ahead"))
    counts = [tuple(f"{line.num_a_ahead:,}" for line in lines), tuple(f"{line.num_b_ahead:,}" for line in lines)]
    return [Column(header, values) for header, values in zip(headers, counts, strict=True)]


def _interval(line: Line) -> str:
    if not line.interval:
        return units.ABSENT
    return " to ".join(points(end, line.metric.decimals) for end in line.interval)


def _shown(line: Line) -> str:
    if not line.is_different:
        return "no"
    return "B better" if line.is_b_better else "A better"
