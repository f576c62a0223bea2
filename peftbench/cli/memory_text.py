"""What models take of memory, as text and as data."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.costs.memory import ACTIVATIONS
from peftbench.costs.of_memory import DTYPES, ModelMemory, Use
from peftbench.costs.of_model import Workload
from peftbench.report.formats.columns import Column
from peftbench.report.formats.drawing import draw
from peftbench.report.formats.text import grids, note
from peftbench.report.rows import units

SCHEMA_VERSION = 1
CONVENTION = "bytes, counted in closed form from shapes, at the moment at which most is there (its parts add up to it)"
PARTS = {
    "weights": "weights",
    "cache": "KV cache",
    "optimizer": "optim.",
    "gradients": "grads",
    "kept": "kept",
    "logits": "logits",
    "working": "work",
}
"""Part of a peak -> its header."""
Fits = Sequence[tuple[ModelMemory, Sequence[Use]]]


def text(models: Sequence[ModelMemory], work: Workload, console: Console) -> str:
    """Draw each model's peaks by part."""
    parts: list[RenderableType] = []
    for model in models:
        parts += [_title(model), *grids([*_keys(model.uses), *_parts(model.uses)], console.width)]
        parts += [*(note(remark, "") for remark in model.remarks), *([""] if model.remarks else [])]
    notes = [*_conventions(work), "at: the moment of the peak; docs/costs.md has what is there then, and the formulas"]
    return draw(console, [*parts, *(note(line, "dim") for line in notes)])


def data(models: Sequence[ModelMemory], work: Workload) -> dict[str, Any]:
    """Build one JSON object of the same."""
    return _document(work, [_model(model, model.uses) for model in models])


def fit_text(fits: Fits, work: Workload, room: int, console: Console) -> str:
    """Draw which uses of models fit, trainings with the largest batch that does."""
    parts: list[RenderableType] = []
    for model, uses in fits:
        parts += [_title(model)]
        parts += _fit_table(uses, room, console) if uses else [f"nothing of it fits in {_room(room)}", ""]
        parts += [*(note(remark, "") for remark in model.remarks), *([""] if model.remarks else [])]
    notes = [
        *_conventions(work),
        *_room_notes(room),
        "batch: the largest power of two up to 1,024 that fits; --set accumulate=N runs one in N parts of its size",
    ]
    return draw(console, [*parts, *(note(line, "dim") for line in notes)])


def fit_data(fits: Fits, work: Workload, room: int) -> dict[str, Any]:
    """Build one JSON object of the same."""
    return _document(work, [_model(model, uses) for model, uses in fits]) | {"room_bytes": room}


def models_text(models: Sequence[ModelMemory], work: Workload, room: int, console: Console) -> str:
    """Draw which models fit: of each use of one the peaks in all precisions, those that fit."""
    rows = [(model, strategy) for model in models for strategy in dict.fromkeys(use.strategy for use in model.uses)]
    columns = [
        Column(("model",), tuple(model.model.name for model, _ in rows), is_text=True, is_key=True),
        Column(("use",), tuple(strategy for _, strategy in rows), is_text=True, is_key=True),
        Column(("params",), tuple(units.number(model.model.num_parameters) for model, _ in rows)),
    ]
    for dtype in DTYPES:
        cells = tuple(_cell(model.uses, strategy, dtype, room) for model, strategy in rows)
        columns.append(Column((dtype,), cells))
    title = Text(f"Peak memory of what fits in {_room(room)}", style="bold")
    notes = [
        "where - stands it does not fit, with * it fits with --set activation_checkpointing=true alone; n/a: is not "
        "there in 4 bits",
        *_conventions(work),
        *_room_notes(room),
    ]
    return draw(console, [title, *grids(columns, console.width), *(note(line, "dim") for line in notes)])


def models_data(models: Sequence[ModelMemory], work: Workload, room: int) -> dict[str, Any]:
    """Build one JSON object of the same."""
    tables = [_model(model, [use for use in model.uses if use.peak.total <= room]) for model in models]
    return _document(work, tables) | {"room_bytes": room}


def _fit_table(uses: Sequence[Use], room: int, console: Console) -> Iterable[RenderableType]:
    columns = [*_keys(uses), Column(("batch",), tuple(str(use.batch_size or "") for use in uses))]
    columns.append(Column(("peak",), tuple(units.size(use.peak.total) for use in uses)))
    columns.append(Column(("left",), tuple(units.size(room - use.peak.total) for use in uses)))
    return grids(columns, console.width)


def _keys(uses: Sequence[Use]) -> list[Column]:
    checkpointing = {None: "", False: "no", True: "yes"}
    return [
        Column(("use",), tuple(use.strategy for use in uses), is_text=True, is_key=True),
        Column(("dtype",), tuple(use.dtype for use in uses), is_text=True, is_key=True),
        Column(
            ("check-", "points"), tuple(checkpointing[use.checkpointing] for use in uses), is_text=True, is_key=True
        ),
    ]


def _parts(uses: Sequence[Use]) -> list[Column]:
    columns = []
    for name, header in PARTS.items():
        values = [getattr(use.peak, name) for use in uses]
        if any(values):
            columns.append(Column((header,), tuple(units.size(value) if value else "" for value in values)))
    columns.append(Column(("peak",), tuple(units.size(use.peak.total) for use in uses)))
    columns.append(Column(("at",), tuple(use.peak.moment for use in uses), is_text=True))
    return columns


def _cell(uses: Sequence[Use], strategy: str, dtype: str, room: int) -> str:
    alike = [use for use in uses if (use.strategy, use.dtype) == (strategy, dtype)]
    if not alike:
        return units.ABSENT
    fits = next((use for use in alike if use.peak.total <= room), None)
    if fits is None:
        return "-"
    return units.size(fits.peak.total) + ("*" if fits.checkpointing else "")


def _model(model: ModelMemory, uses: Iterable[Use]) -> dict[str, Any]:
    return {
        "name": model.model.name,
        "num_parameters": model.model.num_parameters,
        "remarks": model.remarks,
        "uses": [asdict(use) | {"total_bytes": use.peak.total} for use in uses],
    }


def _document(work: Workload, models: list[dict[str, Any]]) -> dict[str, Any]:
    counted = asdict(work)
    del counted["dtype"], counted["num_steps"]  # neither is counted with
    return {
        "schema_version": SCHEMA_VERSION,
        "unit": "bytes",
        "kind": "counted",
        "convention": CONVENTION,
        "workload": counted,
        "models": models,
    }


def _title(model: ModelMemory) -> Text:
    kind = model.model.shape.sizes.kind
    return Text(f"{model.model.name}: {model.model.num_parameters:,} parameters, {kind}", style="bold")


def _conventions(work: Workload) -> list[str]:
    return [
        f"{work.shots} shots of {work.tokens_per_shot} tokens, queries of {work.query_tokens} with choices of "
        f"{', '.join(map(str, work.choice_tokens))}; scoring in passes of about 4,096 tokens; training steps of "
        f"{work.batch_size} examples, {work.optimizer}",
        f"activations (kept, logits, work): {ACTIVATIONS}",
        "4bit: the blocks' matrices as --load 4bit packs them, 0.516 bytes a weight; all else in bfloat16",
        "MB is 10^6 bytes",
    ]


def _room_notes(room: int) -> list[str]:
    return [
        f"{_room(room)}; a card that is sold as one of 24 GB mostly holds 24GiB = 25.8 GB, of which CUDA and the "
        "allocator take about 1 GB"
    ]


def _room(room: int) -> str:
    return f"{room:,} bytes"
