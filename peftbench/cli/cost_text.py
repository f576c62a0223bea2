"""What models cost, as text and as data."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.cli import cost_money
from peftbench.costs.memory import ACTIVATIONS
from peftbench.costs.of_model import PER_QUERY, BreakEven, ModelCosts, Strategy, Workload, break_evens
from peftbench.report.formats.columns import Column
from peftbench.report.formats.drawing import draw
from peftbench.report.formats.text import grids, note
from peftbench.report.rows import units
from peftbench.report.rows.units import MARK

if TYPE_CHECKING:
    from peftbench.costs.prices.read import Prices
    from peftbench.costs.timed_model import Measured

SCHEMA_VERSION = 2
DECIMALS = 3


def text(
    models: Sequence[ModelCosts],
    work: Workload,
    queries: int | None,
    timings: Sequence[Sequence["Measured"]],
    console: Console,
    prices: "Prices | None" = None,
) -> str:
    """Draw each model's costs, then the break-even points, then money where prices are given.

    Args:
        models: Of each model its strategies.
        work: What they are counted for.
        queries: Number of queries whose sum is shown besides.
        timings: What was measured of each model; empty where nothing was.
        console: Where it is drawn.
        prices: None for no money.
    """
    parts: list[RenderableType] = []
    for index, model in enumerate(models):
        parts += [Text(_title(model), style="bold"), *grids(_flops_columns(model.strategies, queries), console.width)]
        parts += grids(_bytes_columns(model.strategies), console.width)
        if timings:
            parts += grids(_timing_columns(timings[index]), console.width)
            parts += [*(note(line, "") for line in _timing_notes(timings[index])), ""]
        parts += [note(remark, "") for remark in model.remarks]
        parts += [""] if model.remarks else []
    if points := break_evens(models):
        parts += [Text("Queries after which training has paid for itself, against", style="bold")]
        parts += grids(_break_even_columns(points, len(models) > 1), console.width)
    if prices is not None:
        parts += cost_money.parts(models, work, prices, console)
    parts += [note(line, "dim") for line in _conventions(models, work)]
    return draw(console, parts)


def data(
    models: Sequence[ModelCosts],
    work: Workload,
    queries: int | None,
    timings: Sequence[Sequence["Measured"]],
    prices: "Prices | None" = None,
) -> dict[str, Any]:
    """Build one JSON object of the costs, each number with unit, kind and convention; arguments as in `text`."""
    tables = [
        {
            "name": model.model.name,
            "num_parameters": model.model.num_parameters,
            "sizes": asdict(model.model.shape.sizes),
            "remarks": model.remarks,
            "strategies": [_strategy(strategy, queries) for strategy in model.strategies],
            "measured": [cost.model_dump() for cost in timings[index]] if timings else [],
            **({} if prices is None else {"money": cost_money.data(model, work, prices)}),
        }
        for index, model in enumerate(models)
    ]
    points = [
        {
            "tuned": {"model": point.tuned.model, "strategy": point.tuned.title},
            "icl": {"model": point.icl.model, "strategy": point.icl.title},
            "queries": point.queries,
            "reason": None if point.queries is not None else "a query costs no less after tuning",
        }
        for point in break_evens(models)
    ]
    return {"schema_version": SCHEMA_VERSION, "workload": asdict(work), "models": tables, "break_even": points}


def _title(costs: ModelCosts) -> str:
    model, sizes = costs.model, costs.model.shape.sizes
    layers = f"{sizes.num_encoder_layers} + " if sizes.is_encoder_decoder else ""
    kind = sizes.kind
    return (
        f"{model.name}: {model.num_parameters:,} parameters, {kind}, "
        f"{layers}{sizes.num_decoder_layers} layers of {sizes.d_model:,} features"
    )


def _flops_columns(strategies: Sequence[Strategy], queries: int | None) -> list[Column]:
    def column(header: tuple[str, ...], name: str, kind: str = "counted") -> Column:
        values = [strategy.value(name, kind) for strategy in strategies]
        return Column(header, tuple(_flops(value) if kind == "counted" else _ruled(value) for value in values))

    trained = tuple(units.number(strategy.value("num_trained") or 0) for strategy in strategies)
    columns = [
        _key(strategies),
        column(("FLOPs", "per query"), PER_QUERY),
        column(("by the", "rule"), PER_QUERY, "estimated"),
        column(("once:", "cache"), "once_flops"),
        column(("training", "FLOPs"), "training_flops"),
        column(("by the", "rule"), "training_flops", "estimated"),
        Column(("trained", "params"), trained),
    ]
    if queries is not None:
        totals = tuple(_flops(_in_all(strategy, queries)) for strategy in strategies)
        columns.append(Column((f"{queries:,}", "queries"), totals))
    return columns


def _in_all(strategy: Strategy, queries: int) -> int:
    """Add up what is paid before the first query and what so many queries cost, counted FLOPs."""
    training, once, query = (strategy.value(name) or 0 for name in ("training_flops", "once_flops", PER_QUERY))
    return training + once + queries * query


BYTES = {
    ("inference", "weights"): "weight_bytes",
    ("", "cache"): "cache_bytes",
    ("on disk:", "file"): "disk_bytes",
    ("", "tensors"): "tensor_bytes",
    ("training", "weights"): "training_weight_bytes",
    ("", "grads"): "gradient_bytes",
    ("", "optim."): "optimizer_bytes",
    ("", "activ."): "activation_bytes",
    ("", "peak"): "training_bytes",
}
"""Header -> name of a counted cost."""


def _bytes_columns(strategies: Sequence[Strategy]) -> list[Column]:
    columns = [_key(strategies)]
    for header, name in BYTES.items():
        columns.append(Column(header, tuple(_size(strategy.value(name)) for strategy in strategies)))
    return columns


def _break_even_columns(points: Sequence[BreakEven], has_models: bool) -> list[Column]:
    """Lay out a line for each tuned strategy and a column for each with shots; `has_models`: they are of several."""
    rows = list(dict.fromkeys((point.tuned.model, point.tuned.title) for point in points))
    rivals = list(dict.fromkeys((point.icl.model, point.icl.title) for point in points))
    queries = {
        (point.tuned.model, point.tuned.title, point.icl.model, point.icl.title): point.queries for point in points
    }
    columns = [Column(("strategy",), tuple(title for _, title in rows), is_text=True, is_key=True)]
    if has_models:
        columns.append(Column(("model",), tuple(model for model, _ in rows), is_text=True, is_key=True))
    for rival in rivals:
        columns.append(Column(rival, tuple(_queries(queries[(*row, *rival)]) for row in rows)))
    return columns


def _timing_columns(costs: Sequence["Measured"]) -> list[Column]:
    """Lay out a line for each run that was timed."""
    lines: dict[str, dict[str, Measured]] = {}
    for cost in costs:
        if cost.of is not None:
            lines.setdefault(cost.of, {})[cost.name] = cost
    columns = [Column(("measured",), tuple(lines), is_text=True, is_key=True)]
    for name, (header, write) in TIMINGS.items():
        if any(name in line for line in lines.values()):
            columns.append(Column(header, tuple(_timing(line.get(name), write) for line in lines.values())))
    return columns


def _timing(cost: "Measured | None", write: Callable[[float], str]) -> str:
    return units.ABSENT if cost is None or cost.value is None else write(cost.value)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


TIMINGS: dict[str, tuple[tuple[str, ...], Callable[[float], str]]] = {
    "median_seconds": (("median",), _seconds),
    "p95_seconds": (("p95",), _seconds),
    "per_second": (("per", "second"), "{:.3g}".format),
    "matmul_share": (("of the", "matmul rate"), units.fraction),
    "peak_memory_bytes": (("peak", "memory"), units.size),
}
"""Name of a measured cost -> its header, and how its value is written."""


def _timing_notes(costs: Sequence["Measured"]) -> list[str]:
    """List what was measured of the machine, how the runs were measured, and what could not be."""
    absent = [f"{cost.of or cost.name}: {cost.reason}" for cost in costs if cost.value is None]
    machine = [f"{cost.name}: {_with_unit(cost)}, {cost.convention}" for cost in costs if cost.of is None]
    conventions = [cost.convention for cost in costs if cost.name == "median_seconds" and cost.value]
    return [*absent, *machine, *dict.fromkeys(conventions)]


def _with_unit(cost: "Measured") -> str:
    if cost.value is None:
        return units.ABSENT
    return units.size(cost.value) if cost.unit == "bytes" else f"{units.flops(cost.value)} {cost.unit}"


def _conventions(models: Sequence[ModelCosts], work: Workload) -> list[str]:
    """List the workload and how the columns were counted, each convention once."""
    workload = (
        f"{work.shots} shots of {work.tokens_per_shot} tokens, queries of {work.query_tokens} with choices of "
        f"{', '.join(map(str, work.choice_tokens))}; {work.num_steps} steps of {work.batch_size} examples, "
        f"{work.optimizer}, {work.dtype}"
    )
    costs = [cost for model in models for strategy in model.strategies for cost in strategy.costs if cost.value]
    training = [cost.convention for cost in costs if (cost.name, cost.kind) == ("training_flops", "counted")]
    has_training = any(cost.name == "activation_bytes" for cost in costs)
    rules = [cost.convention for cost in costs if cost.kind == "estimated" and cost.unit == "FLOPs"]
    return [
        workload,
        *(f"FLOPs, counted: {convention}" for convention in dict.fromkeys(training)),
        *([f"activations: {ACTIVATIONS}; --memory has them by part"] if has_training else []),
        *(f"by the rule, {MARK} estimated: {convention}" for convention in dict.fromkeys(rules)),
        "left out: elementwise work, embedding look-ups; methods are folded into the weights unless it says unmerged",
        "MB is 10^6 bytes; on disk: shots as int32 tokens, cached keys and values, or the file of what was trained",
    ]


def _strategy(strategy: Strategy, queries: int | None) -> dict[str, Any]:
    total = {"num_queries": queries, "flops": _in_all(strategy, queries)} if queries is not None else None
    return {
        "name": strategy.name,
        "variant": strategy.variant,
        "costs": [cost.model_dump() for cost in strategy.costs],
        "in_all": total,
    }


def _key(strategies: Sequence[Strategy]) -> Column:
    return Column(("strategy",), tuple(strategy.title for strategy in strategies), is_text=True, is_key=True)


def _flops(value: float | None) -> str:
    return units.flops(value, DECIMALS)


def _ruled(value: float | None) -> str:
    return "" if value is None else MARK + units.flops(value)


def _size(value: float | None) -> str:
    return "" if value is None else units.size(value)


def _queries(value: int | None) -> str:
    return "never" if value is None else f"{value:,}"
