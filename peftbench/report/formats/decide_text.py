"""A decision as people and programs read it."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.report.evidence.choices import Choice
from peftbench.report.evidence.decide import Best, Decision
from peftbench.report.evidence.lead import Lead
from peftbench.report.formats import columns, escape, money_text
from peftbench.report.formats.columns import Column
from peftbench.report.formats.data import of_crossing
from peftbench.report.formats.drawing import draw
from peftbench.report.formats.text import grids, markdown_table, money_markdown, money_tables, note
from peftbench.report.notes import decision as notes
from peftbench.report.notes import money
from peftbench.report.notes.decision import Answer
from peftbench.report.rows import names, texts, units

SCHEMA_VERSION = 1


def terminal(answer: Answer, console: Console) -> str:
    """Draw a decision for a terminal; readable without colour, and at 100 columns."""
    parts: list[RenderableType] = [Text(sentence, style="bold") for sentence in said(answer)]
    parts += ["", *grids(table(answer), console.width)]
    parts += money_tables(answer.money, answer.money.money.quotes, console.width) if answer.money else []
    for title, lines in _lists(answer):
        parts += [Text(title, style="bold"), *(note(text, "") for text in lines), ""]
    parts += [note(text, "dim") for text in conventions(answer)]
    # A command is one line, however long: it is copied.
    return draw(console, parts) + (f"\nNext: {escape.line(answer.command)}\n" if answer.command else "")


def markdown(answer: Answer) -> str:
    """Write a decision as GitHub Markdown."""
    parts = [f"**{escape.markdown(sentence)}**\n" for sentence in said(answer)]
    parts.append(markdown_table(table(answer)))
    parts += money_markdown(answer.money, answer.money.money.quotes) if answer.money else []
    for title, lines in _lists(answer):
        parts.append(f"{title}\n\n" + "".join(f"- {escape.markdown(text)}\n" for text in lines))
    parts.append("".join(f"- {escape.markdown(text)}\n" for text in conventions(answer)))
    if answer.command:
        # Indented, so that no character of it means anything to Markdown.
        parts.append(f"Next:\n\n    {escape.line(answer.command)}\n")
    return "\n".join(parts)


def to_json(answer: Answer) -> dict[str, Any]:
    """Return a decision as one JSON object, `schema.DecisionFields`; shares and differences are fractions of 1."""
    decision, pair, majority = answer.decision, answer.decision.break_even, answer.decision.majority
    return {
        "schema_version": SCHEMA_VERSION,
        "task": decision.table.tasks[0].name,
        "num_rows": decision.num_rows,
        "num_clusters": decision.num_clusters,
        "num_queries": decision.num_queries,
        "verdict": decision.verdict,
        "answer": said(answer),
        "pick": _side(decision),
        "tuned": _best(decision.tuned),
        "prompted": _best(decision.prompted),
        "tuned_minus_prompted": _lead(decision.lead),
        "majority": majority
        and {
            "label": majority.label,
            "name": answer.choices[majority.label] if answer.choices else None,
            "share": majority.share,
            "is_by_row": majority.is_by_row,
            "best_minus_majority": _lead(majority.lead),
        },
        "chance": decision.table.tasks[0].chance,
        "candidates": [
            _candidate(choice)
            | {"accuracy": candidate.accuracy, "accuracy_interval": candidate.interval, "by_seed": candidate.by_seed}
            for choice, candidate in zip(decision.choices, decision.candidates, strict=True)
        ],
        "break_even": pair and {"uncached_queries": pair.plain, "cached_queries": pair.cached},
        "learning_curves": [of_crossing(curves) for curves in decision.crossings],
        "by_queries": by_queries(answer),
        "would_change": list(notes.would_change(answer)),
        "uncertain": list(notes.uncertain(answer)),
        "conventions": conventions(answer),
        "run_next": answer.command,
        **({"money": money_text.rows_to_json(answer.money)} if answer.money else {}),
    }


def said(answer: Answer) -> list[str]:
    """Write the decision, where it lacks evidence, and what it comes to in money."""
    lacking, priced = notes.evidence(answer), answer.money
    return [notes.sentence(answer), *([lacking] if lacking else []), *([money.pair(priced)] if priced else [])]


def conventions(answer: Answer) -> list[str]:
    """List how the numbers were had."""
    return [*notes.conventions(answer.decision), *(money.conventions(answer.money.money) if answer.money else ())]


def by_queries(answer: Answer) -> list[dict[str, Any]]:
    """List from how many queries on which decision holds."""
    decisions = [answer.decision.after(number) for number in sorted({1, *answer.decision.turns})]
    return [
        {
            "from_queries": decision.num_queries,
            "verdict": decision.verdict,
            "pick": _side(decision),
            "text": notes.by_price(decision),
        }
        for decision in decisions
    ]


def table(answer: Answer) -> list[Column]:
    """Lay out what could be chosen, cheapest first, then what needs no model."""
    decision = answer.decision
    keys = columns.select([choice.row for choice in decision.choices])
    seen = [candidate.accuracy for candidate in decision.candidates]
    estimates = {id(best.row): best.estimate for best in (decision.tuned, decision.prompted) if best}
    corrected = [estimates.get(id(choice.row)) for choice in decision.choices]
    without = [("chance", decision.table.tasks[0].chance)]
    if decision.majority:
        without.insert(0, (notes.always(answer), decision.majority.share))
    rest = [""] * len(without)
    values = [
        (("accuracy", "%"), [*map(units.percent, seen), *(units.percent(share) for _, share in without)]),
        (("95 %", "interval"), [*(texts.interval(candidate.interval) for candidate in decision.candidates), *rest]),
        (("corrected", "%"), [*(units.percent(estimate.value) if estimate else "" for estimate in corrected), *rest]),
        (
            ("corrected", "interval"),
            [*(texts.interval(estimate.interval) if estimate else "" for estimate in corrected), *rest],
        ),
        (("total", "FLOPs"), [*(_flops(choice, choice.flops) for choice in decision.choices), *(["0"] * len(rest))]),
        (("shots", "cached"), [*(_cached(choice) for choice in decision.choices), *rest]),
    ]
    first, *others = keys
    named = [_with(first, [name for name, _ in without]), *(_with(key, rest) for key in others)]
    return [*named, *(Column(header, tuple(cells)) for header, cells in values)]


def _with(column: Column, further: Sequence[str]) -> Column:
    return Column(
        column.header, (*column.values, *further), is_text=column.is_text, is_key=True, fold_at=column.fold_at
    )


def _lists(answer: Answer) -> list[tuple[str, list[str]]]:
    return [
        ("What would change the decision:", list(notes.would_change(answer))),
        ("What is uncertain:", list(notes.uncertain(answer))),
    ]


def _flops(choice: Choice, value: float | None) -> str:
    mark = units.MARK if choice.is_estimated and value is not None else ""
    return mark + units.flops(value)


def _cached(choice: Choice) -> str:
    return "" if choice.cached_flops is None else _flops(choice, choice.cached_flops)


def _side(decision: Decision) -> str | None:
    if decision.pick is None:
        return None
    return "tuned" if decision.pick is decision.tuned else "prompted"


def _candidate(choice: Choice) -> dict[str, Any]:
    return {
        "method": choice.row.method,
        "variant": names.settings(choice.row),
        "model": choice.row.model,
        "shots": names.shots(choice.row),
        "records": [record.id for record in choice.row.records],
        "is_worse_than_best": {"yes": False, "no": True, "unclear": None}[choice.is_enough],
        "total_flops": choice.flops,
        "cached_total_flops": choice.cached_flops,
        "is_estimated": choice.is_estimated,
    }


def _best(best: Best | None) -> dict[str, Any] | None:
    if best is None:
        return None
    return {
        "name": names.full(best.row),
        "records": [record.id for record in best.row.records],
        "num_candidates": best.num_candidates,
        "accuracy": best.candidate.accuracy,
        "corrected_accuracy": best.estimate.value,
        "corrected_interval": best.estimate.interval,
    }


def _lead(lead: Lead | None) -> dict[str, Any] | None:
    if lead is None:
        return None
    return {
        "difference": lead.value,
        "interval": lead.interval,
        "p_value": lead.p_value,
        "is_shown": lead.is_shown,
        "detectable": lead.detectable,
        "num_more_rows": lead.num_more_rows,
    }
