"""How much work a cell is, before a model or rows are loaded: the paper's rule on the shape of its model."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from peftbench import registry
from peftbench.costs import rule
from peftbench.costs.describe import Described, describe
from peftbench.costs.of_model import Workload
from peftbench.costs.published import SHAPES
from peftbench.errors import PeftbenchError
from peftbench.models import source
from peftbench.spec.cell import Cell

NUM_TEMPLATES, NUM_QUERIES = 5, 200
"""Of a cell that takes all there are: no rows are read."""
REPETITIONS = 3
"""Of PET."""
WORKLOAD = Workload()
"""Its token counts stand for those of all tasks."""


def flops(cell: Cell) -> int | None:
    """Estimate the FLOPs of a cell; None where the shape of its model is not known on this machine."""
    model, scoring = _model(cell), scoring_flops(cell)
    if model is None or scoring is None:
        return None
    return scoring + _num_trainings(cell) * _training(cell, model)


def scoring_flops(cell: Cell) -> int | None:
    """Estimate the FLOPs of a cell that come after training; None as `flops`."""
    model = _model(cell)
    if model is None:
        return None
    is_encoder_decoder = model.shape.sizes.is_encoder_decoder
    num_queries = NUM_QUERIES if cell.limit is None else min(cell.limit, NUM_QUERIES)
    shot_tokens = cell.shots * WORKLOAD.tokens_per_shot if cell.learner == "icl" else 0
    is_shared = not is_encoder_decoder and not cell.icl.is_chosen
    num_tokens = num_queries * WORKLOAD.query_tokens + shot_tokens * (1 if is_shared else num_queries)
    num_prompts = _num_templates(cell) * _repetitions(cell)
    return rule.inference_flops(model.num_parameters, num_prompts * num_tokens, is_encoder_decoder=is_encoder_decoder)


def _num_templates(cell: Cell) -> int:
    return NUM_TEMPLATES if cell.templates is None else len(cell.templates)


def _repetitions(cell: Cell) -> int:
    """Count the models that answer each template."""
    return _number(cell.method_config.get("repetitions"), REPETITIONS) if registry.is_ensemble(cell.method) else 1


def _num_trainings(cell: Cell) -> int:
    if registry.is_ensemble(cell.method):
        return _num_templates(cell) * _repetitions(cell)
    return int(registry.is_method(cell.method or ""))


def _training(cell: Cell, model: Described) -> int:
    """Estimate one training."""
    return rule.training_flops(
        model.num_parameters,
        WORKLOAD.query_tokens,
        num_steps=_setting(cell, "num_steps", WORKLOAD.num_steps),
        batch_size=_setting(cell, "batch_size", WORKLOAD.batch_size),
        is_encoder_decoder=model.shape.sizes.is_encoder_decoder,
    )


def _model(cell: Cell) -> Described | None:
    return None if cell.server is not None else _described(cell.model)


def estimates(cells: Sequence[Cell], unknown: float) -> list[float]:
    """Estimate the FLOPs of cells; those of models with unknown shapes take as many as the others at mean.

    What several cells tune alike is counted with the first of them.

    Args:
        cells: All cells.
        unknown: Of a cell, where the shape of no model is known.
    """
    first = {places[0] for places in alike(cells)}
    numbers = [flops(cell) if place in first else scoring_flops(cell) for place, cell in enumerate(cells)]
    known = [number for number in numbers if number is not None]
    mean = sum(known) / len(known) if known else unknown
    return [mean if number is None else float(number) for number in numbers]


def alike(cells: Sequence[Cell]) -> list[list[int]]:
    """List the places of cells that tune the same, by turns of the first of them; of others each by itself."""
    places: dict[str | int, list[int]] = {}
    for place, cell in enumerate(cells):
        places.setdefault(cell.learning if cell.learner == "tune" else place, []).append(place)
    return list(places.values())


def _setting(cell: Cell, name: str, default: int) -> int:
    return _number({**_tuning(cell.model), **cell.training}.get(name), default)


def _number(value: Any, default: int) -> int:
    return value if isinstance(value, int) and value >= 0 else default


@cache
def _described(name: str) -> Described | None:
    """Find a model's shapes where no config need be downloaded."""
    if not (name in SHAPES or name in registry.PACKAGED or name in registry.embedded_models() or Path(name).exists()):
        return None
    try:
        return describe(name)
    except PeftbenchError:  # loading it says why
        return None


@cache
def _tuning(name: str) -> Mapping[str, Any]:
    """Read how a model of this package is tuned by default."""
    folder = registry.PACKAGED[name].folder if name in registry.PACKAGED else registry.embedded_models().get(name)
    path = None if folder is None else folder / source.SETTINGS
    tune: Mapping[str, Any] = tomllib.loads(path.read_text()).get("tune", {}) if path and path.is_file() else {}
    return tune
