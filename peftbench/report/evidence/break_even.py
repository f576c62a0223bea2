"""After how many queries tuning has paid for itself against in-context learning."""

from collections.abc import Iterator
from dataclasses import dataclass

from peftbench.costs.rule import break_even_queries
from peftbench.report.rows.table import Row, Table


@dataclass(frozen=True)
class BreakEven:
    """A tuned row against a prompted one, which is ICL or zero-shot.

    Args:
        plain: Queries after which training has paid for itself; None where that never happens.
        cached: The same where the shots' keys and values are read from a cache, which is filled once.
        has_cached: Whether the ICL row knows what that costs.
    """

    tuned: Row
    icl: Row
    plain: int | None
    cached: int | None
    has_cached: bool


def break_evens(table: Table) -> Iterator[BreakEven]:
    """Compare each tuned row with the ICL row that has the most shots, on the same model where there is one."""
    prompted = sorted((row for row in table.rows if row.is_icl), key=lambda row: row.num_shots)
    for row in table.rows:
        rivals = [rival for rival in prompted if rival.model == row.model] or prompted
        comparison = break_even(row, rivals[-1]) if row.is_tuned and rivals else None
        if comparison:
            yield comparison


def break_even(tuned: Row, icl: Row) -> BreakEven | None:
    """Compare a tuned row with one that is prompted; None where a cost of theirs is not known."""
    training, query = tuned.cost("training_flops"), tuned.cost("inference_flops_per_example")
    plain, cached = icl.cost("inference_flops_per_example"), icl.cost("cached_inference_flops_per_example")
    if training is None or query is None or plain is None:
        return None
    without_cache = training - (icl.cost("cache_flops") or 0)
    return BreakEven(
        tuned,
        icl,
        _queries(training - (icl.cost("index_flops") or 0), plain, query),
        None if cached is None else _queries(without_cache, cached, query),
        cached is not None,
    )


def _queries(training: float, icl: float, tuned: float) -> int | None:
    number = break_even_queries(round(training), round(icl), round(tuned))
    return None if number is None else max(number, 0)
