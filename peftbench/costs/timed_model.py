"""A model's strategies, run and timed on this machine: `peftbench cost --measure`. Kind `measured`."""

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from transformers import DynamicCache

from peftbench import registry
from peftbench.costs import clock, count
from peftbench.costs.backward import training_flops
from peftbench.costs.of_model import Workload
from peftbench.errors import ModelError
from peftbench.learners.optimizer import Optimizer
from peftbench.methods.base import MethodConfig
from peftbench.methods.stages import Stages
from peftbench.models.backbone import Backbone
from peftbench.models.load import load
from peftbench.scoring import prefill, tree
from peftbench.scoring.batches import token_budget
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs, decoder_states, log_probs_at, of_members
from peftbench.scoring.tree import Answers, Tokens
from peftbench.spec.cell import Training
from peftbench.store.record import Cost

MOST_RUNS = 20
QUERY, STEP = "query", "training step"


class Measured(Cost):
    """A measured number, and what it was measured of.

    Args:
        of: What was run, such as "ICL query" or "lora training step"; None: the machine, or the whole process.
        num_runs: How often it was run and timed; None where nothing was run.
    """

    of: str | None = None
    num_runs: int | None = None
    kind: Literal["measured"] = "measured"


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


@dataclass(frozen=True)
class Run:
    """Something to be timed.

    Args:
        of: Its name.
        function: Runs it.
        flops: What it costs, counted.
        convention: How it is run.
    """

    of: str
    function: Callable[[], Any]
    flops: int
    convention: str


def time_model(
    name: str, work: Workload, configs: Mapping[str, MethodConfig], device: str, began: Callable[[str], None]
) -> list[Measured]:
    """Run zero-shot, ICL, and queries and training steps of each method with token ids of the workload's lengths.

    Args:
        name: Of a model that has weights here.
        work: Lengths and batch size.
        configs: Method -> settings.
        device: Where to run.
        began: Is called with the title of what is measured next.

    Raises:
        ModelError: It cannot be loaded.
    """
    backbone = load(name, device=device, dtype=work.dtype)
    rate = clock.matmul_flops_per_second(backbone.device, backbone.dtype)
    machine = Machine(backbone.device, clock.device_name(backbone.device), rate)
    convention = f"one square matmul in {work.dtype}, best of 5, {machine.name}"
    costs = [Measured(name="matmul_flops_per_second", value=rate, unit="FLOPs/s", convention=convention)]
    for run in _prompted(backbone, work):
        began(run.of)
        costs += _timed(run, machine)
    for method, config in configs.items():
        began(method)
        with _attached(backbone, method, config) as stages:
            for run in _tuned(stages, method, work):
                costs += _timed(run, machine)
    convention = f"resident set of the process, the most since it began, {machine.name}"
    peak = clock.peak_process_bytes()
    return [*costs, Measured(name="peak_process_bytes", value=peak, unit="bytes", convention=convention)]


def _prompted(backbone: Backbone, work: Workload) -> Iterator[Run]:
    """List a query under each strategy that needs no training."""
    query, with_shots = (work.query(backbone.sizes, shots=shots) for shots in (False, True))
    convention = f"{QUERY}, batch of 1"
    score = partial(_score, backbone, _encoded(work))
    yield Run(f"zero-shot {QUERY}", score, count.forward_flops(backbone.sizes, query), convention)
    if not work.shots:
        return
    score = partial(_score, backbone, _encoded(work, work.shot_tokens))
    yield Run(f"ICL {QUERY}", score, count.forward_flops(backbone.sizes, with_shots), convention)
    if backbone.sizes.is_causal and not _is_too_long(backbone, with_shots):
        cache = _filled(backbone, work.shot_tokens)
        flops = count.forward_flops(backbone.sizes, with_shots, cached=True)
        score = partial(_score_after, backbone, _encoded(work), cache, work.shot_tokens)
        yield Run(f"ICL cached {QUERY}", score, flops, convention)


def _tuned(stages: Stages, method: str, work: Workload) -> Iterator[Run]:
    """List a query and a training step with the method that is attached."""
    backbone, query = stages.backbone, work.query(stages.backbone.sizes)
    added = registry.method(method).added(backbone.sizes, stages.config)
    flops = added.num_members * count.forward_flops(backbone.sizes, query, added, merged=False)
    score = partial(_score, backbone, _encoded(work))
    yield Run(f"{method} {QUERY}", score, flops, f"{QUERY}, batch of 1, not merged")
    flops = training_flops(backbone.sizes, {query: work.batch_size * added.num_members}, 1, added)
    yield Run(f"{method} {STEP}", _step(stages, work), flops, f"{STEP}, batch of {work.batch_size}")


def _is_too_long(backbone: Backbone, query: count.Query) -> bool:
    tokens = query.shot_tokens + query.input_tokens + sum(query.choice_tokens)
    return backbone.max_positions is not None and tokens > backbone.max_positions


def _encoded(work: Workload, num_before: int = 0) -> Encoded:
    """Make a query of the lengths, behind so many tokens of shots; which tokens it has does not matter."""
    context = num_before + work.query_tokens - sum(work.choice_tokens)
    choices = tuple(tuple(3 + index for _ in range(tokens)) for index, tokens in enumerate(work.choice_tokens))
    return Encoded((3,) * context, choices, (0,) * len(choices), label=0)


@torch.inference_mode()
def _score(backbone: Backbone, encoded: Encoded) -> None:
    is_shared = not backbone.sizes.is_encoder_only  # whose rows of several choices count one by one
    choice_log_probs(backbone, of_members(backbone, [encoded]), is_shared=is_shared)


@torch.inference_mode()
def _filled(backbone: Backbone, num_tokens: int) -> DynamicCache:
    cache = DynamicCache()
    prefill.fill(backbone, 0, (3,) * num_tokens, cache, token_budget(backbone))
    return cache


@torch.inference_mode()
def _score_after(backbone: Backbone, encoded: Encoded, cache: DynamicCache, num_cached: int) -> None:
    row, answers = Tokens(), Answers()
    tree.add_prompt(row, answers, 0, 0, encoded, 0, num_cached)
    hidden = decoder_states(backbone, [row], cache=cache, num_cached=num_cached)
    log_probs_at(backbone, hidden, answers)
    cache.crop(-len(row.ids))


@contextmanager
def _attached(backbone: Backbone, name: str, config: MethodConfig) -> Iterator[Stages]:
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
    batch = of_members(backbone, [_encoded(work)] * work.batch_size)

    def step() -> None:
        loss = stages.penalized({"loss": -choice_log_probs(backbone, batch)[0].mean()})["loss"]
        loss.backward()
        stages.before_step(0, work.num_steps)
        optimizer.step(0, loss.item())
        stages.after_step(0, work.num_steps)

    return step


def _timed(run: Run, machine: Machine) -> list[Measured]:
    """Measure a run; what a model has no positions for is absent, and says so."""
    convention = f"{run.convention}, {machine.name}"
    try:
        runs = clock.runs_of(run.function, machine.device, most=MOST_RUNS)
    except ModelError as error:
        why = error.message
        return [
            Measured(of=run.of, name="median_seconds", value=None, unit="seconds", convention=convention, reason=why)
        ]
    seconds = clock.seconds_of(runs)
    median = statistics.median(seconds)
    share = f"counted FLOPs per second over those of the matmul, {convention}"
    values = [
        ("median_seconds", median, "seconds", convention),
        ("p95_seconds", clock.p95(seconds), "seconds", convention),
        ("per_second", 1 / median, "1/s", f"one after the other, {convention}"),
        ("matmul_share", run.flops / median / machine.rate, "share", share),
    ]
    peaks = [block.peak_memory_bytes for block in runs if block.peak_memory_bytes is not None]
    if peaks:
        values.append(("peak_memory_bytes", max(peaks), "bytes", f"tensors on the device, {convention}"))
    return [
        Measured(of=run.of, name=name, value=value, unit=unit, convention=how, num_runs=len(runs))
        for name, value, unit, how in values
    ]
