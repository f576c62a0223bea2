"""Cost sheets and the audit as text and as data."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.costs.audit import Check
from peftbench.costs.of_model import Sheet, Way, Workload, break_evens
from peftbench.report.formats.text import draw, grids, note
from peftbench.report.rows import units
from peftbench.report.rows.columns import MARK, Column
from peftbench.store.record import Cost

SCHEMA_VERSION = 1
PER_QUERY = "inference_flops_per_query"
DECIMALS = 3
LARGE = 1e9
"""From here on numbers are written with exponents."""


def text(
    sheets: Sequence[Sheet], work: Workload, queries: int | None, timings: Sequence[Sequence[Cost]], console: Console
) -> str:
    """Draw each model's costs, then the break-even points."""
    parts: list[RenderableType] = []
    for index, each in enumerate(sheets):
        parts += [Text(_title(each), style="bold"), *grids(_flops_columns(each.ways, queries), console.width)]
        parts += grids(_bytes_columns(each.ways), console.width)
        if timings:
            parts += grids(_timing_columns(timings[index]), console.width)
            parts += [*(note(text, "") for text in _timing_notes(timings[index])), ""]
        parts += [note(remark, "") for remark in each.remarks]
        parts += [""] if each.remarks else []
    if points := break_evens(sheets):
        parts += [Text("Queries after which training has paid for itself, against", style="bold")]
        parts += grids(_break_even_columns(points, len(sheets) > 1), console.width)
    parts += [note(remark, "dim") for remark in _conventions(sheets, work)]
    return draw(console, parts)


def data(
    sheets: Sequence[Sheet], work: Workload, queries: int | None, timings: Sequence[Sequence[Cost]]
) -> dict[str, Any]:
    """Give the costs as one JSON object, each number with unit, kind and convention."""
    models = [
        {
            "name": each.model.name,
            "num_parameters": each.model.num_parameters,
            "sizes": asdict(each.model.shape.sizes),
            "remarks": each.remarks,
            "ways": [_way(way, queries) for way in each.ways],
            "measured": [cost.model_dump() for cost in timings[index]] if timings else [],
        }
        for index, each in enumerate(sheets)
    ]
    points = [
        {
            "tuned": {"model": tuned.model, "way": tuned.title},
            "icl": {"model": icl.model, "way": icl.title},
            "queries": found,
            "reason": None if found is not None else "a query costs no less after tuning",
        }
        for tuned, icl, found in break_evens(sheets)
    ]
    return {"schema_version": SCHEMA_VERSION, "workload": asdict(work), "models": models, "break_even": points}


def audit_text(checks: Sequence[Check], console: Console) -> str:
    """Draw the audit, the reasons below the numbers."""
    columns = [
        Column(("row",), tuple(check.row for check in checks), is_text=True, is_key=True),
        Column(("number",), tuple(check.column for check in checks), is_text=True),
        Column(("stated formula",), tuple(check.formula for check in checks), is_text=True),
        Column(("value",), tuple(_number(check.value, DECIMALS) for check in checks)),
        Column(("printed",), tuple(_number(check.printed, 1) for check in checks)),
        Column(("unit",), tuple(check.unit for check in checks), is_text=True),
        Column(("",), tuple(_verdict(check) for check in checks), is_text=True),
    ]
    title = "Table 1 of arXiv 2205.05638 by its own formula: 2N FLOPs per token, N for encoder-decoders"
    reasons = [note(f"{check.row}, {check.column}: {check.why}", "") for check in checks if check.why]
    return draw(console, [Text(title, style="bold"), *grids(columns, console.width), *reasons])


def audit_data(checks: Sequence[Check]) -> dict[str, Any]:
    """Give the audit as one JSON object."""
    lines = [asdict(check) | {"printed": None if math.isnan(check.printed) else check.printed} for check in checks]
    return {"schema_version": SCHEMA_VERSION, "paper": "2205.05638", "checks": lines}


def _title(each: Sheet) -> str:
    sizes = each.model.shape.sizes
    layers = f"{sizes.num_encoder_layers} + " if sizes.is_encoder_decoder else ""
    kind = "encoder-decoder" if sizes.is_encoder_decoder else "decoder-only"
    return (
        f"{each.model.name}: {each.model.num_parameters:,} parameters, {kind}, "
        f"{layers}{sizes.num_decoder_layers} layers of {sizes.d_model:,} features"
    )


def _flops_columns(ways: Sequence[Way], queries: int | None) -> list[Column]:
    columns = [
        _key(ways),
        Column(("FLOPs", "per query"), tuple(_flops(way.value(PER_QUERY)) for way in ways)),
        Column(("by the", "rule"), tuple(_ruled(way.value(PER_QUERY, "estimated")) for way in ways)),
        Column(("once:", "cache"), tuple(_flops(way.value("once_flops")) for way in ways)),
        Column(("training", "FLOPs"), tuple(_flops(way.value("training_flops")) for way in ways)),
        Column(("by the", "rule"), tuple(_ruled(way.value("training_flops", "estimated")) for way in ways)),
        Column(("trained", "params"), tuple(units.number(way.value("num_trained") or 0) for way in ways)),
    ]
    if queries is not None:
        columns.append(Column((f"{queries:,}", "queries"), tuple(_flops(_in_all(way, queries)) for way in ways)))
    return columns


def _in_all(way: Way, queries: int) -> int:
    """Add up what is paid once and what so many queries cost, counted FLOPs."""
    found = [way.value(name) for name in ("training_flops", "once_flops", PER_QUERY)]
    training, once, query = (value or 0 for value in found)
    return training + once + queries * query


def _bytes_columns(ways: Sequence[Way]) -> list[Column]:
    names = {
        ("inference", "weights"): "weight_bytes",
        ("", "cache"): "cache_bytes",
        ("on disk:", "file"): "disk_bytes",
        ("", "tensors"): "tensor_bytes",
        ("training", "weights"): "training_weight_bytes",
        ("", "grads"): "gradient_bytes",
        ("", "optim."): "optimizer_bytes",
    }
    columns = [Column(header, tuple(_size(way.value(name)) for way in ways)) for header, name in names.items()]
    for header, name in {("", "activ."): "activation_bytes", ("", "in all"): "training_bytes"}.items():
        columns.append(Column(header, tuple(_size(way.value(name, "estimated"), MARK) for way in ways)))
    return [_key(ways), *columns]


def _break_even_columns(points: Sequence[tuple[Way, Way, int | None]], several: bool) -> list[Column]:
    tuned = list(dict.fromkeys((way.model, way.title) for way, _, _ in points))
    rivals = list(dict.fromkeys((way.model, way.title) for _, way, _ in points))
    found = {(mine.model, mine.title, icl.model, icl.title): queries for mine, icl, queries in points}
    columns = [Column(("way",), tuple(title for _, title in tuned), is_text=True, is_key=True)]
    if several:
        columns.append(Column(("model",), tuple(model for model, _ in tuned), is_text=True, is_key=True))
    for model, title in rivals:
        values = tuple(_queries(found[(*mine, model, title)]) for mine in tuned)
        columns.append(Column((model, title), values))
    return columns


def _timing_columns(costs: Sequence[Cost]) -> list[Column]:
    """Lay out a line for each way that was run."""
    lines: dict[str, dict[str, Cost]] = {}
    for cost in costs:
        title, _, field = cost.name.partition(": ")
        if field:
            lines.setdefault(title, {})[field] = cost
    columns = [Column(("measured",), tuple(lines), is_text=True, is_key=True)]
    for header, (field, write) in TIMINGS.items():
        if any(field in line for line in lines.values()):
            columns.append(Column(header, tuple(_timing(line.get(field), write) for line in lines.values())))
    return columns


def _timing(cost: Cost | None, write: Callable[[float], str]) -> str:
    return units.ABSENT if cost is None or cost.value is None else write(cost.value)


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


TIMINGS: dict[tuple[str, ...], tuple[str, Callable[[float], str]]] = {
    ("median",): ("median", _seconds),
    ("p95",): ("p95", _seconds),
    ("per", "second"): ("per second", "{:.3g}".format),
    ("of the", "matmul rate"): ("of the machine", units.fraction),
    ("peak", "memory"): ("peak memory", units.size),
}
"""Header -> the part of a cost's name that comes after the way's, and how its value is written."""


def _timing_notes(costs: Sequence[Cost]) -> list[str]:
    """Say what was measured beside the ways, how, and what could not be."""
    beside = [cost for cost in costs if ": " not in cost.name]
    absent = [f"{cost.name.partition(':')[0]}: {cost.reason}" for cost in costs if cost.value is None]
    how = {cost.convention.rpartition(", ")[0]: None for cost in costs if cost.name.endswith(": median") and cost.value}
    told = [f"{cost.name}: {_beside(cost)}, {cost.convention}" for cost in beside]
    return [*absent, *told, *(f"{each}" for each in how)]


def _beside(cost: Cost) -> str:
    if cost.value is None:
        return units.ABSENT
    return units.size(cost.value) if cost.unit == "bytes" else f"{units.flops(cost.value)} {cost.unit}"


def _conventions(sheets: Sequence[Sheet], work: Workload) -> list[str]:
    """Say how the columns were had, each convention once."""
    asked = (
        f"{work.shots} shots of {work.shot_tokens} tokens, queries of {work.query_tokens} with choices of "
        f"{', '.join(map(str, work.choice_tokens))}; {work.num_steps} steps of {work.batch_size} examples, "
        f"{work.optimizer}, {work.dtype}"
    )
    costs = [cost for each in sheets for way in each.ways for cost in way.costs]
    told = {"training_flops": "FLOPs, counted", "activation_bytes": f"activations, {MARK} estimated"}
    notes = [asked]
    for name, title in told.items():
        kind = "estimated" if name == "activation_bytes" else "counted"
        found = [cost.convention for cost in costs if (cost.name, cost.kind) == (name, kind) and cost.value]
        notes += [f"{title}: {how}" for how in dict.fromkeys(found)]
    rules = [cost.convention for cost in costs if cost.kind == "estimated" and cost.unit == "FLOPs"]
    notes += [f"by the rule, {MARK} estimated: {how}" for how in dict.fromkeys(rules)]
    return [
        *notes,
        "left out: elementwise work, embedding look-ups; methods are folded into the weights unless it says unmerged",
        "MB is 10^6 bytes; on disk: shots as int32 tokens, cached keys and values, or the file of what was trained",
    ]


def _way(way: Way, queries: int | None) -> dict[str, Any]:
    total = {"num_queries": queries, "flops": _in_all(way, queries)} if queries is not None else None
    return {
        "name": way.name,
        "variant": way.variant,
        "costs": [cost.model_dump() for cost in way.costs],
        "in_all": total,
    }


def _key(ways: Sequence[Way]) -> Column:
    return Column(("way",), tuple(way.title for way in ways), is_text=True, is_key=True)


def _flops(value: float | None) -> str:
    return units.flops(value, DECIMALS)


def _ruled(value: float | None) -> str:
    return "" if value is None else MARK + units.flops(value)


def _size(value: float | None, mark: str = "") -> str:
    return "" if value is None else mark + units.size(value)


def _queries(value: int | None) -> str:
    return "never" if value is None else f"{value:,}"


def _number(value: float, decimals: int) -> str:
    if math.isnan(value):
        return "-"
    return units.flops(value, decimals) if value >= LARGE else f"{value:,.6g}"


def _verdict(check: Check) -> str:
    if math.isnan(check.printed):
        return "not printed"
    return "agrees" if check.agrees else "DIFFERS"
