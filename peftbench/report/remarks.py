"""What must stand under a table so that nobody reads more into it than is there."""

from collections.abc import Iterator, Sequence

from peftbench.report import confidence, steps, units
from peftbench.report.break_even import break_evens
from peftbench.report.columns import MARK
from peftbench.report.table import Row, Table

TITLES = {
    "inference_flops_per_example": "inference FLOPs per example",
    "training_flops": "training FLOPs",
    "disk_bytes": "disk",
}


def conventions(tables: Sequence[Table]) -> list[str]:
    """Say how the columns were counted, each convention once, and why values are absent."""
    rows = [row for table in tables for row in table.rows]
    notes = [
        "accuracy: median (interquartile range) over templates x seeds; over several tasks the mean of their medians "
        "(and of their ranges); n = examples"
    ]
    if any(True for table in tables for _ in break_evens(table)):
        notes.append("break-even: training FLOPs / FLOPs that a query then costs less than with ICL, rounded up")
    notes += _intervals([row for row in rows if not row.published])
    for name, title in TITLES.items():
        costs = [row.costs[name] for row in rows if name in row.costs and not row.published]
        kinds = dict.fromkeys((cost.kind, cost.convention) for cost in costs if cost.value)
        notes += [f"{title}: {_marked(kind)}; {how}" for kind, how in kinds]
        reasons = dict.fromkeys(cost.reason for cost in costs if cost.reason)
        notes += [f"{title}: {units.ABSENT} because {reason}" for reason in reasons]
    return notes


def _intervals(rows: Sequence[Row]) -> Iterator[str]:
    known = [
        one for row in rows for one in row.spreads.values() if all(r.right for e in one.records for r in e.results)
    ]
    if known:
        yield confidence.CONVENTION
    if len(known) < sum(len(row.spreads) for row in rows):
        yield f"95 % interval: {units.ABSENT} because records of schema version 1 do not say which examples are right"


def _marked(kind: str) -> str:
    return f"{MARK} {kind}" if kind == "estimated" else kind


def cautions(table: Table) -> Iterator[str]:
    """Say what makes rows of a table unlike each other: fewer shots than asked, cut inputs, unequal seeds or models."""
    for row in table.rows:
        if " of " in row.shots:
            yield f"{row.title}: {row.shots} shots, as many as fit the model's positions"
        if row.num_cut_tokens:
            yield f"{row.title}: {row.num_cut_tokens:,} input tokens were cut (--max-input-tokens)"
    # Zero-shot draws nothing, so that its one seed is all there is.
    if len({row.num_seeds for row in table.rows if row.method != "zero-shot"}) > 1:
        yield "the rows pool different numbers of seeds: their ranges are not alike"
    yield from _unequal_models(table)


def _unequal_models(table: Table) -> Iterator[str]:
    tuned = {row.model: row for row in table.rows if row.is_tuned}
    prompted = {row.model: row for row in table.rows if row.is_icl}
    if tuned and prompted and steps.same_model(table):
        sizes = ", ".join(f"{row.model} {units.number(row.num_parameters)}" for row in (tuned | prompted).values())
        commands = " and ".join(f"`{command}`" for command in steps.same_model(table))
        yield (
            f"ICL and tuning stand on different models here (parameters: {sizes}): the rows compare models, too; "
            f"for the same model both ways: {commands}"
        )
