"""Advice as people and programs read it."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.report.evidence.advise import Advice, Pick
from peftbench.report.evidence.choices import Choice
from peftbench.report.formats import columns, money_text
from peftbench.report.formats.columns import Column
from peftbench.report.formats.data import of_crossing, of_metric
from peftbench.report.formats.drawing import draw
from peftbench.report.formats.text import grids, money_tables, note
from peftbench.report.notes import advice as notes
from peftbench.report.notes import break_even, crossing, money, remarks
from peftbench.report.rows import names, texts, units
from peftbench.report.rows.confidence import CONVENTION
from peftbench.report.rows.metric import wrapped
from peftbench.report.rows.units import MARK

SCHEMA_VERSION = 2


def terminal(tables: Sequence[Advice], console: Console, options: str = "") -> str:
    """Draw advice for a terminal, one table after the other; readable without colour, and at 100 columns.

    Args:
        tables: Advice on each table of a report.
        console: For its width and whether it has colours.
        options: What a proposed command needs besides, as typed.
    """
    parts: list[RenderableType] = []
    for advice in tables:
        parts += [Text(advice.table.title, style="bold"), question(advice), ""]
        parts += grids(_columns(advice), console.width)
        priced = advice.money
        parts += money_tables(priced, priced.shown, console.width) if priced else []
        parts += [Text(sentence, style="bold") for sentence in answers(advice, options)]
        parts += ["", *(note(f"break-even: {text}", "") for text in break_even.sentences(advice.break_evens))]
        parts += [note(f"learning curves: {crossing.sentence(curves)}", "") for curves in advice.crossings]
        parts += [note(f"money: {line}", "") for line in (money.findings(priced) if priced else ())]
        parts += [note(line, "dim") for line in (*notes.caveats(advice), *conventions(advice))]
        parts.append("")
    return draw(console, parts[:-1])


def to_json(tables: Sequence[Advice], options: str = "") -> dict[str, Any]:
    """Return advice as one JSON object; its `schema_version` changes when a field changes its meaning."""
    return {"schema_version": SCHEMA_VERSION, "tables": [_table(advice, options) for advice in tables]}


def question(advice: Advice) -> str:
    """Write what the advice is on."""
    score = advice.table.metric
    if advice.min_score is not None:
        bound = "at least" if score.higher_is_better else "at most"
        what = f"{bound} {units.percent(advice.min_score, score.decimals)} {score.unit} {score.title}"
    else:
        best = f"{names.full(advice.best)} ({units.percent(advice.best.score, score.decimals)} {score.unit})"
        what = f"not shown to be worse than {best}"
    return f"{advice.num_queries:,} queries, {what}"


def answers(advice: Advice, options: str = "") -> Iterator[str]:
    """Write what is cheapest, or why that cannot be told."""
    if not advice.gaps:
        yield from map(_cheapest, advice.picks)
        yield from _in_money(advice)
        return
    yield f"Not enough evidence: {'; '.join(notes.lacking(advice))}."
    yield from (f"Run next: {command}" for command in notes.run_next(advice, options))
    yield f"So far: {_cheapest(advice.picks[0])}"
    yield from _in_money(advice)


def conventions(advice: Advice) -> Iterator[str]:
    """Write how it was judged."""
    if advice.min_score is not None:
        at, beyond = ("above", "below") if advice.table.metric.higher_is_better else ("below", "above")
        yield f"enough: yes where the whole interval is at or {at} the score, no where it is {beyond}"
    else:
        yield (
            "enough: no where a row is shown to be worse than the best one (z test, standard error by the cluster "
            "bootstrap over examples, p < 0.05 after Holm's correction for the other rows)"
        )
    if advice.crossings:
        yield crossing.CONVENTION
    yield "total FLOPs: training, or filling the cache, and all queries; a multiply-add is two"
    yield CONVENTION
    yield from remarks.stratified(advice.table.rows)
    if advice.money:
        yield from money.conventions(advice.money.money)


def _in_money(advice: Advice) -> Iterator[str]:
    """Write which of the choices that are good enough costs the least money."""
    if advice.money:
        enough = [place for place, choice in enumerate(advice.choices) if choice.is_enough == "yes"]
        yield money.cheapest(advice.money, enough)


def _cheapest(pick: Pick) -> str:
    where = "over all" if pick.model is None else f"on {pick.model}"
    if pick.plain is None and pick.unpriced:
        return f"Cheapest {where}: nobody knows, as records do not say what those that are good enough cost."
    if pick.plain is None:
        return f"Cheapest {where}: none of these is shown to be good enough."
    text = f"Cheapest {where}: {_priced(pick.plain, False)}"
    if pick.cached and (pick.cached is not pick.plain or pick.cached.cached_flops is not None):
        return f"{text}; where the shots' keys and values are cached, {_priced(pick.cached, True)}."
    return f"{text}, whether prompts are cached or not."


def _priced(choice: Choice, cached: bool) -> str:
    return f"{names.full(choice.row)} ({_flops(choice, choice.price(cached))} FLOPs)"


def _flops(choice: Choice, value: float | None) -> str:
    mark = MARK if choice.is_estimated and value is not None else ""
    return mark + units.flops(value)


def _columns(advice: Advice) -> list[Column]:
    choices, score = advice.choices, advice.table.metric
    rows = [choice.row for choice in choices]
    return [
        *columns.select(rows),
        Column((*wrapped(score.title), score.unit), tuple(units.percent(row.score, score.decimals) for row in rows)),
        Column(("95 %", "interval"), tuple(texts.interval(row.interval, score.decimals) for row in rows)),
        Column(("enough",), tuple(choice.is_enough for choice in choices), is_text=True),
        Column(("total", "FLOPs"), tuple(_flops(choice, choice.flops) for choice in choices)),
        Column(("shots", "cached"), tuple(_flops(choice, choice.cached_flops) for choice in choices)),
    ]


def _table(advice: Advice, options: str) -> dict[str, Any]:
    return {
        "title": advice.table.title,
        "metric": of_metric(advice.table.metric),
        "num_queries": advice.num_queries,
        "min_score": advice.min_score,
        "has_enough_evidence": not advice.gaps,
        "lacking": notes.lacking(advice),
        "run_next": notes.run_next(advice, options),
        "answer": list(answers(advice, options)),
        "cheapest": [
            {"model": pick.model, "uncached": _choice(pick.plain), "cached": _choice(pick.cached)}
            for pick in advice.picks
        ],
        "choices": [_choice(choice) for choice in advice.choices],
        "break_evens": [
            {
                "tuned": names.full(pair.tuned),
                "icl": names.full(pair.icl),
                "uncached_queries": pair.plain,
                "cached_queries": pair.cached,
            }
            for pair in advice.break_evens
        ],
        "learning_curves": [of_crossing(curves) for curves in advice.crossings],
        "caveats": list(notes.caveats(advice)),
        "conventions": list(conventions(advice)),
        **({"money": money_text.rows_to_json(advice.money)} if advice.money else {}),
    }


def _choice(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    return {
        "method": choice.row.method,
        "variant": names.settings(choice.row),
        "model": choice.row.model,
        "shots": names.shots(choice.row),
        "score": choice.row.score,
        "score_interval": choice.row.interval,
        "is_enough": choice.is_enough,
        "total_flops": choice.flops,
        "cached_total_flops": choice.cached_flops,
        "is_estimated": choice.is_estimated,
    }
