"""One file of rows in, the answer out: what is assumed, what fits into the time, what it says."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from peftbench.decision import MODEL, QUERIES, encoders
from peftbench.decision.schedule import Schedule, scheduled
from peftbench.decision.strategies import Split
from peftbench.errors import TaskError
from peftbench.flow.failures import CellsFailed, Failure
from peftbench.flow.run import attempts
from peftbench.learners.progress import SILENT, Watch
from peftbench.report.evidence import decide as evidence
from peftbench.report.evidence.decide import Decision
from peftbench.report.notes.document import compose
from peftbench.report.rows.folds import Joined
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.record import Record
from peftbench.store.results import Store
from peftbench.tasks import one_file, schema
from peftbench.tasks.assumed import Assumed


def decide(
    rows: str | Path,
    *,
    model: str = MODEL,
    encoder: str | None = None,
    queries: int = QUERIES,
    label: str | None = None,
    text: Sequence[str] = (),
    folds: int = 5,
    repeats: int = 1,
    group: str | None = None,
    budget: float | None = None,
    results: str | Path = "results",
    watch: Watch = SILENT,
) -> Decision:
    """Decide between examples in the prompt and tuning, from one file of labelled rows.

    Each strategy is tested by cross-validation on the rows themselves. Finished runs are records in `results`;
    the same call again goes on after them.

    Args:
        rows: CSV, TSV, JSONL or Parquet; or a task TOML.
        model: Name, folder, GGUF file or hub id.
        encoder: Folder or name of an encoder that is compared; None: a sentence model that is installed, by logistic
            regression on its embeddings; "none": nothing.
        queries: How many will be asked.
        label: The label's column; None: it is found.
        text: Columns that the model reads; none: they are found.
        folds: Parts of the rows; each is answered by what was learned from the others.
        repeats: Divisions into folds.
        group: Column of rows that belong together.
        budget: Seconds that running may take; None for twenty minutes, without searches for learning rates.
        results: Folder of the records.
        watch: Is told of progress.

    Raises:
        PeftbenchError: Faulty rows, no such model, or time for nothing.
    """
    task, _ = read(Path(rows), label=label, text=text)
    store, rival = Store(results), encoders.find(encoder, watch=watch)
    schedule = scheduled(task, {"model": model}, Split(folds, repeats, group), budget, store, watch, encoder=rival)
    return answer(schedule, carry_out(schedule, store, watch), queries)


def read(
    rows: Path,
    label: str | None = None,
    text: Sequence[str] = (),
    template: str | None = None,
    choices: Sequence[str] | None = None,
) -> tuple[TaskSpec, Assumed | None]:
    """Read rows, or a task TOML, for which nothing has to be assumed.

    Raises:
        TaskError: No task can be made of them, or its answers are written.
    """
    if rows.suffix == ".toml":
        _check_choices(rows)
        return TaskSpec(name=str(rows)), None
    assumed = one_file.assume(rows, label, text, template, choices)
    return assumed.spec, assumed


def _check_choices(path: Path) -> None:
    """Refuse a task whose answers are written.

    Raises:
        TaskError: It is one.
    """
    file = schema.read(path)
    if file.answer == "text":
        message = f"task '{file.name}' has answers that are written, and `decide` is between answers that are chosen"
        task = f"--task {shlex.quote(str(path))}"
        hint = (
            f"`peftbench icl --shots 4 {task}` and `peftbench tune {task}` test both ways, `peftbench advise` chooses"
        )
        raise TaskError(message, hint=hint)


def carry_out(
    schedule: Schedule, store: Store, watch: Watch = SILENT, *, force: bool = False, strict: bool = False
) -> list[Record]:
    """Run what was chosen, one after the other; where time is up, the strategies that are left are left out.

    Returns:
        The records of all strategies that were run to their end.

    Raises:
        CellsFailed: A cell failed.
    """
    records: list[Record] = []
    outcomes = attempts(schedule.cells, store, watch, force=force, strict=strict, is_timed=True, in_order=True)
    for step in schedule.chosen:
        if not schedule.has_time_for(step):
            names = "; ".join(later.strategy.name for later in schedule.stop_before(step))
            watch.say(f"time is up; left out: {names} (the same command again goes on with them)")
            break
        # strict would ask for one outcome more.
        for forecast, outcome in zip(step.forecasts, outcomes, strict=False):
            if isinstance(outcome, Failure):  # its strategy lacks a fold
                raise CellsFailed([outcome], store)
            records.append(outcome.record)
            schedule.finished(step, forecast, outcome)
    return records


def answer(schedule: Schedule, records: Sequence[Record], queries: int) -> Decision:
    """Decide by the records of one task's folds."""
    (table,) = compose(records).tables
    return evidence.decide(table, queries, schedule.pool.labels)


def chosen_cell(decision: Decision, schedule: Schedule) -> Cell | None:
    """Return what was decided for as a cell that learns from all rows; None where nothing is worth it."""
    if decision.pick is None:
        return None
    ids = {fold.id for record in decision.pick.row.records if isinstance(record, Joined) for fold in record.folds}
    step = next(step for step in schedule.chosen if ids & set(step.ids))
    return schedule.on_all_rows(step)
