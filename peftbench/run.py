"""The flow: recipe -> task + shots -> model -> icl | tune -> rank classification -> costs -> record.

Read from `run` downwards for the whole experiment; everything else is a noun that it uses.
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from peftbench import registry, usage
from peftbench.errors import MethodError
from peftbench.learners import icl, tune
from peftbench.learners.predictor import Predictor
from peftbench.methods import adapter
from peftbench.models.backbone import Backbone
from peftbench.models.load import load as load_model
from peftbench.outcome import Evaluation, Learnt, identity, to_frame, to_record
from peftbench.plan import Plan, plan
from peftbench.recipe import Cell, Scoring, Training, checked
from peftbench.record import Record, Store, identify
from peftbench.tasks.task import Example

Queries = Sequence[Sequence[Example]]
"""The test rows, as each template renders them."""


class Watch(Protocol):
    """Whoever looks on: is told of each stage's title and length, then of each advance with a remark."""

    def stage(self, title: str, total: int) -> AbstractContextManager[Callable[[int, str], None]]:
        """Open a stage; the function that it gives takes (advance, remark)."""
        ...


@dataclass(frozen=True)
class Outcome:
    """A record, and whether it was made now or there before."""

    record: Record
    is_new: bool


def run(cells: Sequence[Cell], store: Store, watch: Watch, *, force: bool = False) -> Iterator[Outcome]:
    """Run cells in their order, each unless its record is there, and write a record for each.

    Raises:
        PeftbenchError: Before anything is computed, for all that can be known by then; later for a cell that
            failed. The records of finished cells stay.
    """
    plans = [plan(cell) for cell in cells]
    store.check_writable()
    load_once = functools.lru_cache(maxsize=1)(load_model)
    for step in plans:
        cell = step.cell
        backbone = load_once(
            cell.model,
            revision=cell.revision,
            device=cell.device,
            dtype=cell.dtype,
            allow_pickle=cell.allow_pickle,
        )
        scoring, training = _settings(step, backbone)
        facts = identity(step, backbone, scoring, training)
        found = None if force else store.find(identify(facts))
        yield Outcome(found or _record(step, backbone, scoring, training, facts, store, watch), is_new=found is None)


def _record(
    step: Plan,
    backbone: Backbone,
    scoring: Scoring,
    training: Training | None,
    facts: dict[str, Any],
    store: Store,
    watch: Watch,
) -> Record:
    """Learn, evaluate, and write down what came out; the backbone is left as it was loaded."""
    queries = [[template.render(row) for row in step.test] for template in step.templates]
    try:
        learnt = _learn(step, backbone, scoring, training, queries, store.adapters / identify(facts), watch)
        evaluations = list(_evaluate(step, learnt.predictors, queries, watch))
        record = to_record(facts, step, backbone, scoring, learnt, evaluations)
    finally:
        backbone.detach_all()
    prompt = usage.of(step, backbone, scoring).text() if step.shots and training is None else None
    store.write(record, to_frame(evaluations), prompt)
    return record


def _settings(step: Plan, backbone: Backbone) -> tuple[Scoring, Training | None]:
    """Resolve what depends on the model: command line > the model folder's settings > the method's defaults."""
    end = step.cell.scoring.end or ("eos" if backbone.is_encoder_decoder else "none")
    scoring = step.cell.scoring.model_copy(update={"end": end})
    if step.cell.method is None:
        return scoring, None
    defaults = registry.method(step.cell.method).DEFAULTS
    table = {**defaults, **backbone.settings(step.cell.method), **step.cell.training}
    return scoring, checked(Training, table, f"training settings of '{backbone.name}'", MethodError)


def _learn(
    step: Plan,
    backbone: Backbone,
    scoring: Scoring,
    training: Training | None,
    queries: Queries,
    folder: Path,
    watch: Watch,
) -> Learnt:
    """Learn from the shots: a prompt for each template, or one adapter for all of them."""
    started = time.perf_counter()
    # Tuning puts no shots before its queries; those that do not fit even so should show before it, not after.
    shots = step.shots if training is None else ()
    prompts = [icl.learn(backbone, template, shots, step.cell.icl, scoring) for template in step.templates]
    icl.fit(prompts, queries)
    if training is None or step.cell.method is None or step.config is None:
        return Learnt(prompts, time.perf_counter() - started)
    title = f"{step.task.name}: tuning {step.cell.method}, seed {step.cell.seed}"
    with watch.stage(title, training.num_steps) as advance:
        tuned = tune.learn(
            backbone,
            step.cell.method,
            step.config,
            step.templates,
            step.shots,
            training,
            scoring,
            step.cell.seed,
            lambda _, loss: advance(1, f"loss {loss:.3f}"),
        )
    seconds = time.perf_counter() - started
    beside = {usage.FILE: usage.of(step, backbone, scoring).text()}
    adapter.save(folder, backbone, step.cell.method, step.config, tuned.names, beside)
    return Learnt([tuned] * len(step.templates), seconds, tuned=tuned, training=training, adapter=folder)


def _evaluate(step: Plan, predictors: Sequence[Predictor], queries: Queries, watch: Watch) -> Iterator[Evaluation]:
    """Rank the choices of each test row under each template."""
    total = len(step.templates) * len(step.test)
    with watch.stage(f"{step.task.name}: scoring", total) as advance:
        for template, predictor, examples in zip(step.templates, predictors, queries, strict=True):
            started = time.perf_counter()
            scores = predictor.score(examples, lambda done: advance(done, ""))
            evaluation = Evaluation(template, predictor.num_shots, examples, scores, time.perf_counter() - started)
            advance(0, f"accuracy {100 * evaluation.result().accuracy():.1f} with template {template.index}")
            yield evaluation
