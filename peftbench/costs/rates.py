"""`peftbench cost --measure`: the ways of a cost sheet, run and timed on this machine."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from peftbench import registry
from peftbench.costs import clock, count
from peftbench.costs.backward import training_flops
from peftbench.costs.of_model import Sheet, Workload
from peftbench.errors import ModelError
from peftbench.learners.optimizer import Optimizer
from peftbench.methods.stages import Stages
from peftbench.models.backbone import Backbone
from peftbench.models.load import load
from peftbench.scoring import tree
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs, decoder_states, log_probs_at, of_members
from peftbench.scoring.tree import Answers, Tokens
from peftbench.spec.cell import Training
from peftbench.store.record import Cost

MOST_RUNS = 20
QUERY, STEP = "query", "training step"


@dataclass(frozen=True)
class Machine:
    """Where is measured.

    Args:
        device: torch's.
        name: What it is called in the world, with the threads of a CPU.
        rate: FLOPs per second of one large square matmul there.
    """

    device: torch.device
    name: str
    rate: float


def time_all(
    sheet: Sheet, work: Workload, configs: Mapping[str, Any], device: str, began: Callable[[str], None]
) -> list[Cost]:
    """Run zero-shot, ICL, and queries and training steps of each method with token ids of the workload's lengths.

    Args:
        sheet: Of a model that has weights here.
        work: Lengths and batch size.
        configs: Method -> settings.
        device: Where to run.
        began: Is told the title of what is measured next.

    Raises:
        ModelError: It cannot be loaded.
    """
    backbone = load(sheet.model.name, device=device, dtype=work.dtype)
    rate = clock.matmul_flops_per_second(backbone.device, backbone.dtype)
    machine = Machine(backbone.device, clock.device_name(backbone.device), rate)
    told = f"one square matmul in {work.dtype}, best of 5, {machine.name}"
    costs = [_cost("matmul_flops_per_second", rate, "FLOPs/s", told)]
    for title, function, flops in _prompted(backbone, work):
        began(title)
        costs += _timed(title, function, flops, machine, f"{QUERY}, batch of 1")
    for name, config in configs.items():
        added = registry.method(name).added(backbone.sizes, config)
        with _attached(backbone, name, config) as stages:
            query = _lengths(backbone, work, shots=False)
            began(name)
            flops = added.num_members * count.forward_flops(backbone.sizes, query, added, merged=False)
            costs += _timed(
                f"{name} {QUERY}",
                lambda: _score(backbone, _encoded(work, 0)),
                flops,
                machine,
                f"{QUERY}, batch of 1, not merged",
            )
            flops = training_flops(backbone.sizes, {query: work.batch_size * added.num_members}, 1, added)
            costs += _timed(
                f"{name} {STEP}", _step(stages, work), flops, machine, f"{STEP}, batch of {work.batch_size}"
            )
    told = f"resident set of the process, the most since it began, {machine.name}"
    costs.append(_cost("peak_process_bytes", clock.peak_process_bytes(), "bytes", told))
    return costs


def _prompted(backbone: Backbone, work: Workload) -> Iterator[tuple[str, Callable[[], Any], int]]:
    """Give title, function and counted FLOPs of a query in each way that needs no training."""
    plain, shots = (_lengths(backbone, work, shots=shots) for shots in (False, True))
    yield f"zero-shot {QUERY}", lambda: _score(backbone, _encoded(work, 0)), count.forward_flops(backbone.sizes, plain)
    if not work.shots:
        return
    before = work.shots * work.shot_tokens
    yield f"ICL {QUERY}", lambda: _score(backbone, _encoded(work, before)), count.forward_flops(backbone.sizes, shots)
    if not backbone.is_encoder_decoder and not _too_long(backbone, shots):
        cache, size = _filled(backbone, before)
        flops = count.forward_flops(backbone.sizes, shots, cached=True)
        yield f"ICL cached {QUERY}", lambda: _score_after(backbone, _encoded(work, 0), cache, size), flops


def _too_long(backbone: Backbone, query: count.Query) -> bool:
    tokens = query.shot_tokens + query.input_tokens + sum(query.choice_tokens)
    return backbone.max_positions is not None and tokens > backbone.max_positions


def _lengths(backbone: Backbone, work: Workload, *, shots: bool) -> count.Query:
    return work.query(backbone.sizes, shots=shots)


def _encoded(work: Workload, before: int) -> Encoded:
    """Make a query of the lengths; which tokens it has does not matter."""
    context = before + work.query_tokens - sum(work.choice_tokens)
    choices = tuple(tuple(3 + index for _ in range(tokens)) for index, tokens in enumerate(work.choice_tokens))
    return Encoded((3,) * context, choices, (0,) * len(choices), label=0)


@torch.inference_mode()
def _score(backbone: Backbone, encoded: Encoded) -> None:
    choice_log_probs(backbone, of_members(backbone, [encoded]))


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


@contextmanager
def _attached(backbone: Backbone, name: str, config: Any) -> Iterator[Stages]:
    """Attach a method, its parameters to be trained, for as long as the block runs."""
    method = registry.method(name)
    try:
        names = method.attach(backbone, config)
        backbone.train_only(names)
        yield Stages(method, backbone, config, names)
    finally:
        backbone.detach_all()


def _step(stages: Stages, work: Workload) -> Callable[[], None]:
    """Make a training step: forward, backward, optimiser; the loss is the choices' mean log-probability."""
    backbone, training = stages.backbone, Training(**{**stages.method.DEFAULTS, "optimizer": work.optimizer})
    optimizer = Optimizer(backbone.parameters_named(stages.names).values(), training)
    batch = of_members(backbone, [_encoded(work, 0)] * work.batch_size)

    def step() -> None:
        loss = stages.penalized({"loss": -choice_log_probs(backbone, batch)[0].mean()})["loss"]
        loss.backward()
        stages.before_step(0, work.num_steps)
        optimizer.step(0, loss.item())
        stages.after_step(0, work.num_steps)

    return step


def _timed(title: str, function: Callable[[], Any], flops: int, machine: Machine, what: str) -> list[Cost]:
    """Measure one way; what a model has no positions for is absent, and says so."""
    try:
        runs = clock.runs_of(function, machine.device, most=MOST_RUNS)
    except ModelError as error:
        return [_cost(f"{title}: median", None, "seconds", f"{what}, {machine.name}", error.message)]
    seconds = clock.seconds_of(runs)
    median, told = statistics.median(seconds), f"{what}, {machine.name}, {len(runs)} runs"
    costs = [
        _cost(f"{title}: median", median, "seconds", told),
        _cost(f"{title}: p95", clock.p95(seconds), "seconds", told),
        _cost(f"{title}: per second", 1 / median, "1/s", f"one after the other, {told}"),
        _cost(
            f"{title}: of the machine",
            flops / median / machine.rate,
            "share",
            f"counted FLOPs per second over those of the matmul, {told}",
        ),
    ]
    peaks = [run.peak_memory_bytes for run in runs if run.peak_memory_bytes is not None]
    if peaks:
        costs.append(_cost(f"{title}: peak memory", max(peaks), "bytes", f"tensors on the device, {told}"))
    return costs


def _cost(name: str, value: float | None, unit: str, convention: str, reason: str | None = None) -> Cost:
    return Cost(name=name, value=value, unit=unit, kind="measured", convention=convention, reason=reason)
