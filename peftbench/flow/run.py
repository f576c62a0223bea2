"""The flow: recipe -> task + shots -> model -> icl | tune -> rank classification -> costs -> record.

Read from `run` downwards for the whole experiment; everything else is a noun that it uses.
"""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from peftbench import registry
from peftbench.adapters import saved
from peftbench.errors import MethodError
from peftbench.flow import usage
from peftbench.flow.outcome import Evaluation, Learnt, identity, to_frame, to_record
from peftbench.flow.plan import Plan, plan
from peftbench.learners import icl, shots_as_prefix, sweep, tune
from peftbench.learners.predictor import Predictor
from peftbench.models.backbone import Backbone
from peftbench.models.load import load as load_model
from peftbench.spec.cell import Cell, Scoring, Training
from peftbench.spec.settings import checked
from peftbench.store.record import Record, identify
from peftbench.store.results import Store
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
        PeftbenchError: Before anything is computed with a model, for all that can be known by then; later for a cell
            that failed. The records of finished cells stay.
    """
    plans = [plan(cell) for cell in cells]
    store.check_writable()
    for _, alike in itertools.groupby(plans, _weights):
        steps = list(alike)
        cell = steps[0].cell
        backbone = load_model(
            cell.model,
            revision=cell.revision,
            device=cell.device,
            dtype=cell.dtype,
            allow_pickle=cell.allow_pickle,
        )
        settings = [_settings(step, backbone) for step in steps]
        facts = [identity(step, backbone, *both) for step, both in zip(steps, settings, strict=True)]
        found = [None if force else store.find(identify(each)) for each in facts]
        for step, both, record in zip(steps, settings, found, strict=True):
            if record is None:
                _check(step, backbone, *both)
        for step, both, each, record in zip(steps, settings, facts, found, strict=True):
            yield Outcome(record or _record(step, backbone, *both, each, store, watch), is_new=record is None)


def _weights(step: Plan) -> tuple[Any, ...]:
    """Give what decides which weights are loaded, and how."""
    cell = step.cell
    return cell.model, cell.revision, cell.device, cell.dtype, cell.allow_pickle


def _check(step: Plan, backbone: Backbone, scoring: Scoring, training: Training | None) -> None:
    """Find faults of a tuning before the first of its model's cells is computed."""
    if training is None or step.cell.method is None or step.config is None:
        return
    queries = [] if backbone.max_positions is None else [example for some in step.queries for example in some]
    tune.check(backbone, step.cell.method, step.config, step.examples, training, scoring, step.start, queries)


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
    queries = step.queries
    try:
        learnt = _learn(step, backbone, scoring, training, queries, watch)
        evaluations = list(_evaluate(step, learnt.predictors, queries, watch))
        with _saved(step, backbone, scoring, learnt, store.adapters / identify(facts)) as folder:
            learnt = replace(learnt, adapter=folder)
            record = to_record(facts, step, backbone, scoring, learnt, evaluations)
            prompt = usage.of(step, backbone, scoring).text() if step.shots and training is None else None
            store.write(record, to_frame(evaluations), prompt)
    finally:
        backbone.detach_all()
    return record


@contextmanager
def _saved(step: Plan, backbone: Backbone, scoring: Scoring, learnt: Learnt, folder: Path) -> Iterator[Path | None]:
    """Save what was tuned, or shots as a prefix, for as long as a record of it comes about: none is left alone."""
    if learnt.tuned is None and not step.cell.icl.as_prefix:
        yield None
        return
    was_there = folder.exists()
    try:
        if learnt.tuned is None:
            alone = usage.of(step, backbone, scoring).alone()
            yield shots_as_prefix.save(
                learnt.predictors, folder, {name: {usage.FILE: one.text()} for name, one in alone.items()}
            )
        else:
            assert step.cell.method is not None
            assert step.config is not None
            beside = {usage.FILE: usage.of(step, backbone, scoring).text()}
            yield saved.save(folder, backbone, step.cell.method, step.config, learnt.tuned.names, beside)
    except BaseException:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        raise


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
    watch: Watch,
) -> Learnt:
    """Learn from the shots: a prompt for each template, or one adapter for all of them."""
    started = time.perf_counter()
    # Tuning puts no shots before its queries; those that do not fit even so should show before it, not after.
    shots = step.shots if training is None else ()
    prompts = [
        icl.learn(backbone, template, shots, step.cell.icl, scoring, step.cell.seed) for template in step.templates
    ]
    icl.fit(prompts, queries)
    if training is None or step.cell.method is None or step.config is None:
        return Learnt(prompts, time.perf_counter() - started)
    swept = None
    if step.cell.sweep:
        swept = _sweep(step, backbone, scoring, training, watch)
        training = training.model_copy(update={"lr": swept.lr})
    title = f"{step.task.name}: tuning {step.cell.method}, seed {step.cell.seed}"
    with watch.stage(title, training.num_steps) as advance:
        tuned = tune.learn(
            backbone,
            step.cell.method,
            step.config,
            step.examples,
            training,
            scoring,
            step.cell.seed,
            lambda _, loss: advance(1, f"loss {loss:.3f}"),
            step.start,
        )
    seconds = time.perf_counter() - started
    return Learnt([tuned] * len(step.templates), seconds, tuned=tuned, training=training, swept=swept)


def _sweep(step: Plan, backbone: Backbone, scoring: Scoring, training: Training, watch: Watch) -> sweep.Swept:
    """Try learning rates on the shots; the test rows do not come into it."""
    assert step.cell.method is not None
    assert step.config is not None
    title = f"{step.task.name}: sweeping the learning rate of {step.cell.method}, seed {step.cell.seed}"
    with watch.stage(title, sweep.num_steps(training)) as advance:
        return sweep.sweep(
            backbone,
            step.cell.method,
            step.config,
            step.examples,
            training,
            scoring,
            step.cell.seed,
            lambda text: advance(1, text),
            step.start,
        )


def _evaluate(step: Plan, predictors: Sequence[Predictor], queries: Queries, watch: Watch) -> Iterator[Evaluation]:
    """Rank the choices of each test row under each template."""
    total = sum(map(len, queries))
    with watch.stage(f"{step.task.name}: scoring", total) as advance:
        for template, predictor, examples in zip(step.templates, predictors, queries, strict=True):
            started = time.perf_counter()
            scores = predictor.score(examples, lambda done: advance(done, ""))
            evaluation = Evaluation(template, predictor.num_shots, examples, scores, time.perf_counter() - started)
            advance(0, f"accuracy {100 * evaluation.result().accuracy():.1f} with template {template.index}")
            yield evaluation
