"""The flow: cells -> plans -> trials -> learn -> rank classification -> costs -> records.

Read from `run` downwards for the whole experiment; everything else is a noun that it uses.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from peftbench.errors import ModelError, RecordError, TaskError
from peftbench.flow import failures, usage, written
from peftbench.flow.attached import Attached
from peftbench.flow.evaluation import Evaluation
from peftbench.flow.failures import CellsFailed, Failure
from peftbench.flow.outcome import to_frame, to_record
from peftbench.flow.plan import Plan, plans, remarks
from peftbench.flow.timetable import CellWatch, Timetable
from peftbench.flow.trial import Trial, trials, weights
from peftbench.learners.learn import Learned, save
from peftbench.learners.predictor import Predictor
from peftbench.learners.progress import SILENT, Watch
from peftbench.spec.cell import Cell
from peftbench.store.record import Record
from peftbench.store.results import Store
from peftbench.tasks.task import Example
from peftbench.tasks.template import Template


@dataclass(frozen=True)
class Outcome:
    """A record, and whether it was made now or there before.

    Args:
        seconds: What it took now, the loading of the model aside.
        place: Which of the cells it is of, from 0.
    """

    record: Record
    is_new: bool
    seconds: float = 0.0
    place: int = 0


def run(
    cells: Sequence[Cell],
    store: Store,
    watch: Watch = SILENT,
    *,
    force: bool = False,
    strict: bool = False,
    is_timed: bool = False,
) -> Iterator[Outcome]:
    """Run cells in their order, each unless its record is there, and write a record for each.

    A cell that fails leaves its traceback in `failures/ID.json` and stops no other; the last step raises.

    Args:
        cells: What to run.
        store: Where records are, and go.
        watch: Is told of progress, and of what is odd in the data.
        force: Whether what has a record is run again.
        strict: Whether data with something odd in it (`flow.plan.remarks`) are refused.
        is_timed: Whether somebody has chosen how long it takes; else a remark says so where it is long.

    Raises:
        PeftbenchError: Before anything is computed with a model, for all that can be known by then; later where a
            model, or the results folder, cannot be used. The records of finished cells stay.
        CellsFailed: After all others were run: some cells failed.
    """
    return completed(attempts(cells, store, watch, force=force, strict=strict, is_timed=is_timed), store, watch)


def completed(outcomes: Iterable[Outcome | Failure], store: Store, watch: Watch) -> Iterator[Outcome]:
    """Yield the outcomes with a record; raise in the end where cells failed.

    Raises:
        CellsFailed: Some failed.
    """
    failed = []
    for outcome in outcomes:
        if isinstance(outcome, Outcome):
            yield outcome
        else:
            watch.say(f"failed: {outcome} (traceback: {failures.path(store, outcome.id)})")
            failed.append(outcome)
    if failed:
        raise CellsFailed(failed, store)


def checked_plans(cells: Sequence[Cell], *, strict: bool) -> tuple[list[Plan], list[str]]:
    """Plan cells, and list what is odd in their data.

    Raises:
        PeftbenchError: All that can be known without a model.
    """
    planned = plans(cells)
    notes = remarks(planned)
    if strict and notes:
        raise TaskError("; ".join(notes), hint="--strict refuses such data; without it, this is said and they are used")
    return planned, notes


def attempts(
    cells: Sequence[Cell],
    store: Store,
    watch: Watch = SILENT,
    *,
    force: bool = False,
    strict: bool = False,
    is_timed: bool = False,
    in_order: bool = False,
) -> Iterator[Outcome | Failure]:
    """Run cells as `run` does, with a failure in the place of each that failed.

    Cells of one model that learn the same follow each other, so that it is learned once (`flow.attached`). Those come
    last that another process is at work on (`store.claims`); if it has written their records by then, they are there.

    Args:
        cells: What to run.
        store: As of `run`.
        watch: As of `run`.
        force: As of `run`.
        strict: As of `run`.
        is_timed: As of `run`.
        in_order: Whether outcomes come in the order of the cells, whoever is at work on them.

    Raises:
        PeftbenchError: As `run`.
    """
    planned, notes = checked_plans(cells, strict=strict)
    say, num_before = cache(watch.say), 0
    timetable = Timetable(len(cells), watch)
    store.tidy()
    if force or not store.records.is_dir():
        store.check_writable()
    for _, alike in itertools.groupby(planned, weights):
        to_try = [(trial, None if force else finished(trial, store)) for trial in trials(list(alike), store.served)]
        if any(record is None for _, record in to_try):
            store.check_writable()
        for trial, record in to_try:
            if record is None:
                trial.check()
        notes += [remark for trial, record in to_try if record is None for remark in trial.remarks]
        long = timetable.enter(to_try)
        notes += [] if is_timed else long
        for note in notes:  # once, and not above an error
            say(note)
        numbered = list(enumerate(to_try, num_before))
        in_turn = numbered if in_order else store.claims.others_last(_together(numbered), _id)
        yield from _in_turn(in_turn, store, timetable, force=force)
        num_before += len(to_try)


Numbered = tuple[int, tuple[Trial, Record | None]]
"""Which of the cells, from 0; its trial, and its record where there is one."""


def _together(numbered: Sequence[Numbered]) -> list[Numbered]:
    """Put trials that learn the same behind each other, at the place of the first of them."""
    alike: dict[str, list[Numbered]] = {}
    for place, (trial, record) in numbered:
        alike.setdefault(trial.cell.learning, []).append((place, (trial, record)))
    return list(itertools.chain(*alike.values()))


def _in_turn(
    numbered: Iterable[Numbered], store: Store, timetable: Timetable, *, force: bool
) -> Iterator[Outcome | Failure]:
    """Run the trials on one model that have no record when their turn comes; the model is left as it was loaded."""
    attached = Attached()
    try:
        for place, (trial, known) in numbered:
            record = known or (None if force else finished(trial, store))
            if record is None:
                with store.claims.claim(trial.id):
                    outcome = _attempt(trial, attached, store, timetable.cell(trial), place, force=force)
                yield outcome
                continue
            if known is None:
                timetable.skip(trial)
            failures.forget(trial.cell, trial.id, store)  # of a worker that was killed after it wrote the record
            yield Outcome(record, is_new=False, place=place)
    finally:
        attached.detach()


def _id(numbered: Numbered) -> str:
    return numbered[1][0].id


def finished(trial: Trial, store: Store) -> Record | None:
    """Return a trial's record, if what was learned is there with it."""
    record = store.find(trial.id)
    return record if record is not None and store.is_complete(record) else None


def _attempt(
    trial: Trial, attached: Attached, store: Store, watch: CellWatch, place: int, *, force: bool
) -> Outcome | Failure:
    """Run a trial; whatever it raises is its failure, unless it concerns the cells after it as well.

    Raises:
        RecordError: The results folder cannot be used.
        ModelError: A server does not answer as it did.
    """
    began = time.perf_counter()
    try:
        record = _run(trial, attached, store, watch, force=force)
    except RecordError:
        raise
    except Exception as error:
        if isinstance(error, ModelError) and trial.backbone.remote is not None:
            raise
        failure = Failure.of(error, trial.cell, trial.id, place)
        failures.write(failure, store)
        return failure
    failures.forget(trial.cell, trial.id, store)
    return Outcome(record, is_new=True, seconds=time.perf_counter() - began, place=place)


def _run(trial: Trial, attached: Attached, store: Store, watch: CellWatch, *, force: bool) -> Record:
    """Learn, evaluate, and write down what came out; what was tuned stays attached for the next trial.

    Returns:
        The record that is there now: another process may have been first, and then its record stays.
    """
    with attached.on(trial.backbone):
        with trial.backbone.session(store.answers(trial.id)):
            trial, learned = attached.learn(trial, watch.learning)
            evaluations = list(_evaluate(trial, learned, watch.scoring))
        with store.staging() as staged:
            adapter = save(learned, staged / "adapter", usage.beside_adapters(trial))
            record = to_record(trial, learned, evaluations, adapter)
            record = store.write(record, to_frame(evaluations), usage.prompt(trial, learned), adapter, force=force)
        store.forget_answers(trial.id)
        return record


def _evaluate(trial: Trial, learned: Learned, watch: Watch) -> Iterator[Evaluation]:
    """Rank the choices of each test row under each template, or write its answer."""
    plan = trial.plan
    with watch.stage(f"{plan.task.name}: scoring", sum(map(len, plan.queries))) as advance:
        for template, predictor, queries in zip(plan.templates, learned.predictors, plan.queries, strict=True):
            evaluation = _evaluation(trial, template, predictor, queries, lambda num_done: advance(num_done, ""))
            advance(0, evaluation.remark)
            yield evaluation


def _evaluation(
    trial: Trial,
    template: Template,
    predictor: Predictor,
    queries: Sequence[Example],
    progress: Callable[[int], None],
) -> Evaluation:
    if trial.plan.task.is_text:
        return written.evaluate(trial, template, predictor, queries, progress)
    scores = predictor.score(queries, progress)
    skipped, is_fold = trial.plan.num_skipped(template), trial.cell.fold is not None
    return Evaluation(trial.plan.task.metric, template, predictor, queries, scores, skipped, is_fold)
