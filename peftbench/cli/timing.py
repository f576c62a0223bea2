"""`peftbench cost --measure`: the ways of a cost sheet, run and timed on this machine."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from transformers import DynamicCache

from peftbench import registry
from peftbench.costs import count, measure
from peftbench.costs.backward import training_flops
from peftbench.costs.sheet import Sheet, Workload
from peftbench.errors import CostError
from peftbench.learners.optimizer import Optimizer
from peftbench.models import tree
from peftbench.models.backbone import Backbone
from peftbench.models.encoding import Encoded
from peftbench.models.forward import choice_log_probs, decoder_states, log_probs_at
from peftbench.models.load import load
from peftbench.models.tree import Answers, Tokens
from peftbench.recipe import Training
from peftbench.record import Cost

REPEATS = 20


def time_all(sheet: Sheet, work: Workload, configs: Mapping[str, Any], device: str) -> list[Cost]:
    """Run zero-shot, ICL and training steps of each method with token ids of the workload's lengths.

    Args:
        sheet: Of a model that has weights here.
        work: Lengths and batch size.
        configs: Method -> settings.
        device: Where to run.

    Raises:
        CostError: The model has no weights here.
        ModelError: It cannot be loaded.
    """
    if not sheet.model.has_weights:
        raise CostError(
            f"'{sheet.model.name}' is known by its shapes only and cannot be measured",
            hint="--measure takes an embedded model or a folder with weights",
        )
    backbone = load(sheet.model.name, device=device, dtype=work.dtype)
    rate = measure.matmul_flops_per_second(backbone.device, backbone.dtype)
    where = measure.device_name(backbone.device)
    costs = [_cost("matmul_flops_per_second", rate, "FLOPs/s", f"one square matmul, best of 5, on {where}")]
    for name, function, flops in _queries(backbone, work):
        costs += _timed(name, function, flops, rate, backbone.device, "query, batch of 1")
    if work.shots and _too_long(backbone, _lengths(backbone, work, shots=True)):
        reason = f"the prompt is longer than the model's {backbone.max_positions:,} positions"
        costs.append(_cost("ICL: median", None, "seconds", "query, batch of 1", reason))
    for name, config in configs.items():
        costs += _stepped(backbone, work, name, config, rate)
    costs.append(_cost("peak_process_bytes", measure.peak_process_bytes(), "bytes", "resident set since the start"))
    if backbone.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(backbone.device)
        costs.append(_cost("peak_device_bytes", peak, "bytes", "tensors on the device, last block"))
    return costs


def _queries(backbone: Backbone, work: Workload) -> Iterator[tuple[str, Callable[[], Any], int]]:
    """Give name, function and counted FLOPs of a query in each way that needs no training."""
    plain, shots = (_lengths(backbone, work, shots=shots) for shots in (False, True))
    yield "zero-shot", lambda: _score(backbone, _encoded(work, 0)), count.forward_flops(backbone.sizes, plain)
    if not work.shots or _too_long(backbone, shots):
        return
    before = work.shots * work.shot_tokens
    yield "ICL", lambda: _score(backbone, _encoded(work, before)), count.forward_flops(backbone.sizes, shots)
    if not backbone.is_encoder_decoder:
        cache, size = _filled(backbone, before)
        flops = count.forward_flops(backbone.sizes, shots, cached=True)
        yield "ICL cached", lambda: _score_after(backbone, _encoded(work, 0), cache, size), flops


def _too_long(backbone: Backbone, query: count.Query) -> bool:
    tokens = query.shot_tokens + query.input_tokens + sum(query.choice_tokens)
    return backbone.max_positions is not None and tokens > backbone.max_positions


def _lengths(backbone: Backbone, work: Workload, *, shots: bool) -> count.Query:
    return work.query(is_encoder_decoder=backbone.is_encoder_decoder, shots=shots)


def _encoded(work: Workload, before: int) -> Encoded:
    """Make a query of the lengths; which tokens it has does not matter."""
    context = before + work.query_tokens - sum(work.choice_tokens)
    choices = tuple(tuple(3 + index for _ in range(tokens)) for index, tokens in enumerate(work.choice_tokens))
    return Encoded((3,) * context, choices, (0,) * len(choices), label=0)


@torch.inference_mode()
def _score(backbone: Backbone, encoded: Encoded) -> None:
    choice_log_probs(backbone, [encoded])


@torch.inference_mode()
def _filled(backbone: Backbone, before: int) -> tuple[DynamicCache, int]:
    cache = DynamicCache()
    decoder_states(backbone, [tree.shared_tokens(0, (3,) * before)], cache=cache)
    return cache, before


@torch.inference_mode()
def _score_after(backbone: Backbone, encoded: Encoded, cache: DynamicCache, size: int) -> None:
    row, answers = Tokens(), Answers()
    tree.plant(row, answers, 0, 0, encoded, 0, size)
    hidden = decoder_states(backbone, [row], cache=cache, num_cached=size)
    log_probs_at(backbone, hidden, answers)
    cache.crop(-len(row.ids))


def _stepped(backbone: Backbone, work: Workload, name: str, config: Any, rate: float) -> list[Cost]:
    """Time training steps: forward, backward, optimiser; the loss is the choices' mean log-probability."""
    method = registry.method(name)
    query = _lengths(backbone, work, shots=False)
    flops = training_flops(backbone.sizes, {query: work.batch_size}, 1, method.added(backbone.sizes, config))
    names = method.attach(backbone, config)
    backbone.train_only(names)
    optimizer = Optimizer(backbone.parameters_named(names).values(), Training(**method.DEFAULTS))
    batch = [_encoded(work, 0)] * work.batch_size

    def step() -> None:
        loss = -choice_log_probs(backbone, batch)[0].mean()
        loss.backward()
        optimizer.step(0, loss.item())

    try:
        return _timed(name, step, flops, rate, backbone.device, f"training step, batch of {work.batch_size}")
    finally:
        backbone.detach_all()


def _timed(
    name: str, function: Callable[[], Any], flops: int, rate: float, device: torch.device, what: str
) -> list[Cost]:
    seconds = measure.seconds_of(function, device, REPEATS)
    median = statistics.median(seconds)
    return [
        _cost(f"{name}: median", median, "seconds", f"{what}, {REPEATS} runs"),
        _cost(f"{name}: p95", measure.p95(seconds), "seconds", f"{what}, {REPEATS} runs"),
        _cost(f"{name}: per second", 1 / median, "1/s", what),
        _cost(f"{name}: of the machine", flops / median / rate, "share", "counted FLOPs / s over the matmul rate"),
    ]


def _cost(name: str, value: float | None, unit: str, convention: str, reason: str | None = None) -> Cost:
    return Cost(name=name, value=value, unit=unit, kind="measured", convention=convention, reason=reason)
