"""What must stand under a table so that nobody reads more into it than is there."""

from collections.abc import Iterator, Sequence

from peftbench.costs.rule import break_even_queries
from peftbench.report import steps, units
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
    if any(note for table in tables for note in break_evens(table)):
        notes.append("break-even: training FLOPs / FLOPs that a query then costs less than with ICL, rounded up")
    for name, title in TITLES.items():
        costs = [row.costs[name] for row in rows if name in row.costs and not row.published]
        kinds = dict.fromkeys((cost.kind, cost.convention) for cost in costs if cost.value)
        notes += [f"{title}: {_marked(kind)}; {how}" for kind, how in kinds]
        reasons = dict.fromkeys(cost.reason for cost in costs if cost.reason)
        notes += [f"{title}: {units.ABSENT} because {reason}" for reason in reasons]
    return notes


def _marked(kind: str) -> str:
    return f"{MARK} {kind}" if kind == "estimated" else kind


def cautions(table: Table) -> Iterator[str]:
    """Say what makes rows of a table unlike each other: fewer shots than asked, cut inputs, unequal seeds or models."""
    for row in table.rows:
        if " of " in row.shots:
            yield f"{_name(row)}: {row.shots} shots, as many as fit the model's positions"
        if row.num_cut_tokens:
            yield f"{_name(row)}: {row.num_cut_tokens:,} input tokens were cut (--max-input-tokens)"
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


def break_evens(table: Table) -> Iterator[str]:
    """Say for each tuned row after how many queries its training has paid for itself against ICL.

    The opponent is the ICL row with the most shots, on the same model where there is one.
    """
    prompted = sorted((row for row in table.rows if row.is_icl), key=lambda row: row.num_shots)
    for row in table.rows:
        rivals = [rival for rival in prompted if rival.model == row.model] or prompted
        if row.is_tuned and rivals:
            yield from _break_even(row, rivals[-1])


def _break_even(tuned: Row, icl: Row) -> Iterator[str]:
    training, query = tuned.cost("training_flops"), tuned.cost("inference_flops_per_example")
    plain, cached = icl.cost("inference_flops_per_example"), icl.cost("cached_inference_flops_per_example")
    if training is None or query is None or plain is None:
        return
    text = f"{_queries(training, plain, query)} against {icl.shots}-shot ICL on {icl.model}"
    if cached is not None:
        saved = training - (icl.cost("cache_flops") or 0)
        text += f", {_queries(saved, cached, query)} where the shots' keys and values are cached"
    yield f"break-even: {_name(tuned)} has paid for its training after {text}"


def _queries(training: float, icl: float, tuned: float) -> str:
    queries = break_even_queries(round(training), round(icl), round(tuned))
    return "no number of queries" if queries is None else f"{max(queries, 0):,} queries"


def _name(row: Row) -> str:
    variant = f" ({row.variant})" if row.variant else ""
    return f"{row.method}{variant} on {row.model}"
