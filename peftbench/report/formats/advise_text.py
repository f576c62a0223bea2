"""Advice as people and programs read it."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.report.evidence.advise import Advice, Choice, Pick
from peftbench.report.formats import columns
from peftbench.report.formats.columns import Column
from peftbench.report.formats.text import draw, grids, note
from peftbench.report.rows import names, texts, units
from peftbench.report.rows.confidence import CONVENTION
from peftbench.report.rows.units import MARK

SCHEMA_VERSION = 1


def terminal(advice: Sequence[Advice], console: Console) -> str:
    """Draw advice for a terminal, one table after the other; readable without colour, and at 100 columns."""
    parts: list[RenderableType] = []
    for one in advice:
        parts += [Text(one.table.title, style="bold"), question(one), "", *grids(_columns(one), console.width)]
        parts += [Text(text, style="bold") for text in answers(one)]
        parts += ["", *(note(f"break-even: {each.text}", "") for each in one.break_evens)]
        parts += [note(text, "dim") for text in (*one.caveats, *conventions(one))]
        parts.append("")
    return draw(console, parts[:-1])


def to_json(advice: Sequence[Advice]) -> dict[str, Any]:
    """Give advice as one JSON object; its `schema_version` changes when a field changes its meaning."""
    return {"schema_version": SCHEMA_VERSION, "tables": [_table(one) for one in advice]}


def question(advice: Advice) -> str:
    """Say what was asked."""
    if advice.min_accuracy is not None:
        what = f"at least {units.percent(advice.min_accuracy)} % accuracy"
    else:
        what = f"not shown to be less accurate than {names.full(advice.best)} ({units.percent(advice.best.score)} %)"
    return f"{advice.num_queries:,} queries, {what}"


def answers(advice: Advice) -> Iterator[str]:
    """Say what is cheapest, or why that cannot be told."""
    if advice.lacking:
        yield f"Not enough evidence: {'; '.join(advice.lacking)}."
        yield from (f"Run next: {command}" for command in advice.commands)
    shown = advice.picks if not advice.lacking else advice.picks[:1]
    for pick in shown:
        yield ("So far: " if advice.lacking else "") + _picked(pick)


def conventions(advice: Advice) -> Iterator[str]:
    """Say how it was judged."""
    if advice.min_accuracy is not None:
        yield "enough: yes where the whole interval is at or above the accuracy, no where it is below"
    else:
        yield (
            "enough: no where a row is shown to be less accurate than the most accurate one (z test, standard error by "
            "the cluster bootstrap over examples, p < 0.05 after Holm's correction for all rows)"
        )
    yield "total FLOPs: training, or filling the cache, and all queries; a multiply-add is two"
    yield CONVENTION


def _picked(pick: Pick) -> str:
    where = "over all" if pick.model is None else f"on {pick.model}"
    if pick.plain is None:
        return f"Cheapest {where}: none of these is shown to be accurate enough."
    text = f"Cheapest {where}: {_priced(pick.plain, False)}"
    if pick.cached and (pick.cached is not pick.plain or pick.cached.cached_flops is not None):
        return f"{text}; where the shots' keys and values are cached, {_priced(pick.cached, True)}."
    return f"{text}, whether prompts are cached or not."


def _priced(one: Choice, cached: bool) -> str:
    return f"{names.full(one.row)} ({_flops(one, one.price(cached))} FLOPs)"


def _flops(one: Choice, value: float | None) -> str:
    return (MARK if one.is_estimated and value is not None else "") + units.flops(value)


def _columns(advice: Advice) -> list[Column]:
    rows = [one.row for one in advice.choices]
    return [
        *columns.select(rows),
        Column(("accuracy", "%"), tuple(units.percent(row.score) for row in rows)),
        Column(("95 %", "interval"), tuple(texts.interval(row.interval) for row in rows)),
        Column(("enough",), tuple(one.is_enough for one in advice.choices), is_text=True),
        Column(("total", "FLOPs"), tuple(_flops(one, one.flops) for one in advice.choices)),
        Column(("shots", "cached"), tuple(_flops(one, one.cached_flops) for one in advice.choices)),
    ]


def _table(advice: Advice) -> dict[str, Any]:
    return {
        "title": advice.table.title,
        "num_queries": advice.num_queries,
        "min_accuracy": advice.min_accuracy,
        "has_enough_evidence": not advice.lacking,
        "lacking": list(advice.lacking),
        "run_next": list(advice.commands),
        "answer": list(answers(advice)),
        "cheapest": [
            {"model": pick.model, "uncached": _choice(pick.plain), "cached": _choice(pick.cached)}
            for pick in advice.picks
        ],
        "choices": [_choice(one) for one in advice.choices],
        "break_evens": [
            {
                "tuned": names.full(one.tuned),
                "icl": names.full(one.icl),
                "uncached_queries": one.plain,
                "cached_queries": one.cached,
            }
            for one in advice.break_evens
        ],
        "caveats": list(advice.caveats),
        "conventions": list(conventions(advice)),
    }


def _choice(one: Choice | None) -> dict[str, Any] | None:
    return (
        None
        if one is None
        else {
            "method": one.row.method,
            "variant": names.settings(one.row),
            "model": one.row.model,
            "shots": names.shots(one.row),
            "accuracy": one.row.score,
            "accuracy_interval": one.row.interval,
            "is_enough": one.is_enough,
            "total_flops": one.flops,
            "cached_total_flops": one.cached_flops,
            "is_estimated": one.is_estimated,
        }
    )
