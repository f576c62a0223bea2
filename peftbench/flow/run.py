"""The flow: cells -> plans -> trials -> learn -> rank classification -> costs -> records.

Read from `run` downwards for the whole experiment; everything else is a noun that it uses.
"""

import itertools
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peftbench.flow import usage
from peftbench.flow.outcome import Evaluation, to_frame, to_record
from peftbench.flow.plan import plans
from peftbench.flow.trial import Trial, trials, weights
from peftbench.learners.learn import Learned, save
from peftbench.learners.progress import SILENT, Watch
from peftbench.spec.cell import Cell
from peftbench.store.record import Record
from peftbench.store.results import Store


@dataclass(frozen=True)
class Outcome:
    """A record, and whether it was made now or there before."""

    record: Record
    is_new: bool


def run(cells: Sequence[Cell], store: Store, watch: Watch = SILENT, *, force: bool = False) -> Iterator[Outcome]:
    """Run cells in their order, each unless its record is there, and write a record for each.

    Raises:
        PeftbenchError: Before anything is computed with a model, for all that can be known by then; later for a cell
            that failed. The records of finished cells stay.
    """
    planned = plans(cells)
    store.check_writable()
    for _, alike in itertools.groupby(planned, weights):
        to_try = [(trial, None if force else trial.recorded(store)) for trial in trials(list(alike))]
        for trial, record in to_try:
            if record is None:
                trial.check()
        for trial, record in to_try:
            yield Outcome(record or _run(trial, store, watch), is_new=record is None)


def _run(trial: Trial, store: Store, watch: Watch) -> Record:
    """Learn, evaluate, and write down what came out; the backbone is left as it was loaded."""
    try:
        learned = trial.learn(watch)
        evaluations = list(_evaluate(trial, learned, watch))
        with _saved(trial, learned, store.adapters / trial.id) as adapter:
            record = to_record(trial, learned, evaluations, adapter)
            store.write(record, to_frame(evaluations), usage.prompt(trial))
    finally:
        trial.backbone.detach_all()
    return record


def _evaluate(trial: Trial, learned: Learned, watch: Watch) -> Iterator[Evaluation]:
    """Rank the choices of each test row under each template."""
    plan = trial.plan
    with watch.stage(f"{plan.task.name}: scoring", sum(map(len, plan.queries))) as advance:
        for template, predictor, queries in zip(plan.templates, learned.predictors, plan.queries, strict=True):
            started = time.perf_counter()
            scores = predictor.score(queries, lambda num_done: advance(num_done, ""))
            seconds = time.perf_counter() - started
            evaluation = Evaluation(plan.task.metric, template, predictor, queries, scores, seconds)
            advance(0, evaluation.remark)
            yield evaluation


@contextmanager
def _saved(trial: Trial, learned: Learned, folder: Path) -> Iterator[Path | None]:
    """Save what was learned as adapters for as long as a record of it comes about: none is left alone."""
    was_there = folder.exists()
    try:
        yield save(learned, folder, usage.beside_adapters(trial))
    except BaseException:
        if not was_there:
            shutil.rmtree(folder, ignore_errors=True)
        raise
