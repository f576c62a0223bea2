"""Shared by `icl`, `tune` and `run`: make cells, run them, print their records, name the next command."""

import shlex
import statistics
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from peftbench import registry
from peftbench.cli.options import TASK, Format, OutputOptions, RunOptions, TaskOptions, WeightOptions, choices, numbers
from peftbench.cli.progress import Watch, loading, watch
from peftbench.errors import RecipeError
from peftbench.report.rows import setting, units
from peftbench.report.rows.metric import has_chance
from peftbench.spec import limits
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.spec.recipe import folds
from peftbench.spec.settings import checked
from peftbench.store.record import Record
from peftbench.store.results import Store

if TYPE_CHECKING:
    from peftbench.cli.workers import Workers
    from peftbench.flow.failures import CellsFailed
    from peftbench.flow.run import Outcome


def requested_cells(
    task: TaskOptions,
    weights: WeightOptions,
    run: RunOptions,
    *,
    targets: Sequence[TaskSpec] = (),
    as_mixture: bool = False,
    **settings: Any,
) -> list[Cell]:
    """Make the cells of a command line: its tasks x its seeds x its folds.

    Args:
        task: Options of rows and templates.
        weights: Options of the weights.
        run: Options of the run.
        targets: Other tasks, which what is tuned on each of its tasks answers, too; or which are asked zero-shot.
        as_mixture: Whether a group that can be a mixture stays one task.
        settings: Further fields of each cell; of `shots` a number, or "all".

    Raises:
        RecipeError: Options that contradict each other, or values out of range.
        TaskError: No such task.
    """
    from peftbench.tasks.all_rows import AllRows

    shared = {
        **weights.table(),
        **run.where(),
        "templates": numbered(task.templates),
        "limit": task.limit,
        "draw": "file" if task.shots_from else task.draw,
        **settings,
    }
    rows, pool = AllRows(), settings.get("icl", {}).get("pool")
    own: list[tuple[TaskSpec, TaskSpec | None]] = [(spec, None) for spec in specs(task, as_mixture=as_mixture)]
    is_tuned = settings["learner"] == "tune"
    others = (
        [(target, spec) for spec, _ in own for target in targets] if is_tuned else [(spec, None) for spec in targets]
    )
    tables = [
        shared
        | {
            "task": spec.model_dump(),
            "source_task": source and source.model_dump(),
            "seed": seed,
            "fold": fold and fold.model_dump(),
            "shots": rows.number(settings["shots"], source or spec, fold, seed, pool),
        }
        for spec, source in [*own, *others]
        for seed in numbers(task.seeds, "seeds")
        for fold in folds(task.folds, task.group)
    ]
    if len(tables) > limits.MAX_CELLS:
        message = f"{len(tables):,} cells, and {limits.MAX_CELLS:,} are the most"
        raise RecipeError(message, hint="fewer tasks, or fewer --seeds")
    return distinct([checked(Cell, table, "options", RecipeError) for table in tables])


def numbered(templates: str) -> tuple[int, ...] | None:
    """Read the numbers of --templates; None for all."""
    return None if templates == "all" else tuple(numbers(templates, "templates"))


def distinct(cells: Sequence[Cell]) -> list[Cell]:
    """Drop repeated cells; zero-shot draws no rows, so all of its seeds and draws count as one."""
    plain = [cell if cell.shots else cell.model_copy(update={"seed": 0, "draw": "plain"}) for cell in cells]
    return list({cell.model_dump_json(): cell for cell in plain}.values())


def carry_out(
    cells: Sequence[Cell],
    run: RunOptions,
    output: OutputOptions,
    form: Format,
    step: str,
    workers: "Workers | None" = None,
) -> None:
    """Run cells, print the table of their records, and name the next command.

    Args:
        cells: What to run.
        run: Options of the run.
        output: Options of what is shown.
        form: Of the table.
        step: The next command.
        workers: Where else than in this process.

    Raises:
        PeftbenchError: As `flow.run.run`.
    """
    from peftbench.cli.screen import rendered, say_next
    from peftbench.report.notes.document import compose

    progress = watch(quiet=output.quiet)
    store = Store(output.results)
    engine = None if workers is None else workers.engine(len(cells), store.root)  # its processes load meanwhile
    with loading(progress):
        from peftbench.flow.engines.dealing import run_on
        from peftbench.flow.run import run as run_cells
        from peftbench.models.threads import THREADS

    THREADS.number = run.threads
    how: dict[str, Any] = {"force": run.force, "strict": run.strict}
    if engine is None:
        outcomes = run_cells(cells, store, progress, **how)
    else:
        outcomes = run_on(engine, cells, store, progress, **how, threads=run.threads)
    records, failed = _said(outcomes, len(cells), store, progress)
    if failed is not None and not records:
        raise failed
    typer.echo(rendered(compose(records), form), nl=False)
    usages = [path for record in records for path in sorted((store.adapters / record.id).glob("**/usage.json"))]
    folders = [path.parent for path in usages]
    if len(folders) == 1:
        use = shlex.join(["peftbench", "predict", "--adapter", str(folders[0]), "--input", "ROWS"])
        progress.say(f"\nadapter: {folders[0]}; `{use}` uses it")
    elif folders and len(records) == 1:  # of shots as a prefix there is one for each template
        use = shlex.join(["peftbench", "predict", "--adapter", str(folders[0])])
        progress.say(f"\nadapters: {folders[0].parent}/template-*; `{use}` uses one")
    if failed is not None:
        raise failed
    say_next(progress, step)


def _said(
    outcomes: "Iterator[Outcome]", number: int, store: Store, progress: Watch
) -> "tuple[list[Record], CellsFailed | None]":
    """Print a line for each outcome as it comes; return the records in the cells' order, and the error of others."""
    from peftbench.flow.failures import CellsFailed

    records: dict[int, Record] = {}
    failed = None
    try:
        for outcome in outcomes:
            record = outcome.record
            records[outcome.place] = record
            folder = store.location(record.id).parent
            took = f"{outcome.seconds:.1f} s" if outcome.is_new else f"there already, in {folder}"
            progress.say(f"[{len(records)}/{number}] {_line(record)}  ({took})")
            sweep = record.learned.sweep
            if sweep is not None:
                rates = ", ".join(f"{trial.lr:g}" for trial in sweep.trials)
                progress.say(f"learning rate {sweep.lr:g}, chosen by --sweep lr among {rates}")
            if not outcome.is_new and len(records) == number:
                progress.say("--force runs again what has a record")
    except CellsFailed as error:
        failed = error
    return [records[place] for place in sorted(records)], failed


def _line(record: Record) -> str:
    values = [result.value() for result in record.results]
    run = f"{setting.method(record)} on {record.model.name}, {_shots(record)}, seed {record.seed}{_fold(record)}"
    metric = registry.scale(record.metric)
    value = f"{metric.title} {units.percent(statistics.median(values), metric.decimals)}"
    over = f"median of {len(values)} templates" if len(values) > 1 else "one template"
    chance = f", chance {units.percent(record.task.chance, metric.decimals)}" if has_chance(metric) else ""
    return f"{record.task.name}: {run}: {value}, {over}{chance}"


def _fold(record: Record) -> str:
    fold = record.identity.get("fold")
    return f", fold {fold['index'] + 1} of {fold['of']}" if fold else ""


def _shots(record: Record) -> str:
    """Write the number of shots in the prompt, the number requested where not all of them fit, and what chose them."""
    used, requested = units.span(record.num_shots), str(record.identity["shots"])
    chosen = record.identity.get("icl", {}).get("select")
    by = f" by {chosen}" if chosen else ""
    number = record.identity.get("icl", {}).get("block_shots")
    by += f" in blocks of {number}" if number else ""
    return f"{used} shots{by}" if used == requested else f"{used} of {requested} shots{by}"


def specs(task: TaskOptions, *, as_mixture: bool = False) -> list[TaskSpec]:
    """Say which tasks the options name.

    Args:
        task: Options of rows and templates.
        as_mixture: Whether a group that can be a mixture stays one task.

    Raises:
        RecipeError: Options that contradict each other.
        TaskError: No such task.
    """
    _check_shots_from(task)
    _check_folds(task)
    train = task.train or task.shots_from
    if task.template is not None or task.choices is not None:
        return [_own(task)]
    if task.task is None and (train or task.test):
        raise RecipeError(
            "--train, --test and --shots-from do not say how to read the rows",
            hint='add --task NAME, or --template "{{text}} Sentiment: ||| {{label}}" --choices "negative,positive"',
        )
    from peftbench.tasks.load import expand

    names = expand(task.task or TASK)
    if len(names) > 1 and (train or task.test):
        message = f"'{task.task}' is {len(names)} tasks; --train, --test and --shots-from go with one"
        raise RecipeError(message, hint="`peftbench list tasks` names its tasks")
    if as_mixture:
        names = expand(task.task or TASK, as_mixture=True)
    return [TaskSpec(name=name, train=train, test=task.test, data=task.data) for name in names]


def transfer_targets(task: TaskOptions, named: str) -> list[TaskSpec]:
    """Say which tasks --transfer-to names: tasks and groups, separated by commas.

    Raises:
        RecipeError: It names none.
        TaskError: No such task.
    """
    from peftbench.tasks.load import expand

    names = [member for name in choices(named) or () for member in expand(name)]
    return [TaskSpec(name=name, data=task.data) for name in dict.fromkeys(names)]


def _check_shots_from(task: TaskOptions) -> None:
    other = "--train" if task.train else f"--draw {task.draw}" if task.draw != "plain" else None
    if task.shots_from is not None and other is not None:
        message = f"--shots-from says which rows are the shots, and {other} would say it again"
        raise RecipeError(message, hint=f"leave out {other}, or --shots-from")


def _check_folds(task: TaskOptions) -> None:
    """Refuse what does not go with --folds, and --group without them."""
    if task.folds is None and task.group is not None:
        message = f"--group '{task.group}' says which rows stand in one fold, and there are no folds"
        raise RecipeError(message, hint="add --folds 5, or leave out --group")
    others = {
        "--test": task.test and "and its rows would not be used",
        "--shots-from": task.shots_from and "and its rows are the shots as they stand",
        "--limit": task.limit and "and it would leave some out",
    }
    option, why = next(((name, why) for name, why in others.items() if why), (None, None))
    if task.folds is not None and option is not None:
        is_lacking = option != "--limit" and task.train is None
        hint = f"leave out {option}, or --folds" + (": --train FILE has the rows" if is_lacking else "")
        raise RecipeError(f"--folds tests each training row, beside {option}: {why}", hint=hint)


def _own(task: TaskOptions) -> TaskSpec:
    train = task.train or task.shots_from
    rows = train if task.folds else task.test
    name = task.task or (rows.stem if rows else "own")
    return TaskSpec(name=name, train=train, test=task.test, template=task.template, choices=choices(task.choices))
