"""`peftbench decide`: one file of labelled rows in, the answer out."""

import json
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Argument, Option

from peftbench.cli import options
from peftbench.cli.options import (
    DATA,
    FLAG,
    OUTPUT,
    RUNNING,
    OutputOptions,
    RunOptions,
    ScoringOptions,
    ServerOptions,
    WeightOptions,
)
from peftbench.decision import MODEL, QUERIES
from peftbench.errors import RecipeError, RecordError

if TYPE_CHECKING:
    from peftbench.costs.prices.read import Prices
    from peftbench.decision.schedule import Schedule
    from peftbench.learners.progress import Watch
    from peftbench.report.evidence.decide import Decision
    from peftbench.report.notes.decision import Answer
    from peftbench.spec.cell import Cell
    from peftbench.store.results import Store
    from peftbench.tasks.assumed import Assumed

Format = Literal["table", "json", "md", "html"]
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class RowsOptions:
    """Options that say how a file of rows is read."""

    label: Annotated[
        str | None, Option(help="Column of the label. \\[default: found]", metavar="COLUMN", rich_help_panel=DATA)
    ] = None
    text: Annotated[
        list[str] | None,
        Option(
            help="Column that the model reads; repeatable. \\[default: found]", metavar="COLUMN", rich_help_panel=DATA
        ),
    ] = None
    template: Annotated[
        str | None,
        Option(help="Jinja, input ||| answer. \\[default: a plain one]", metavar="TEXT", rich_help_panel=DATA),
    ] = None
    choices: Annotated[
        str | None,
        Option(help="Answers, one for each class. \\[default: the classes]", metavar="A,B", rich_help_panel=DATA),
    ] = None
    group: Annotated[
        str | None, Option(help="Column of rows that stand in one fold.", metavar="COLUMN", rich_help_panel=DATA)
    ] = None


@dataclass(frozen=True)
class SplitOptions:
    """Options that say how rows are tested, and for how long."""

    folds: Annotated[
        int,
        Option(
            help="Parts of the rows; each is answered by what was learned from the others.",
            metavar="K",
            min=2,
            rich_help_panel=RUNNING,
        ),
    ] = 5
    repeats: Annotated[
        int, Option(help="Divide the rows into folds N times.", metavar="N", min=1, max=100, rich_help_panel=RUNNING)
    ] = 1
    budget: Annotated[
        str | None,
        Option(
            help="Time that running may take: 90s, 20m, 2h; the cheapest information comes first, searches for "
            "learning rates last. \\[default: 20m, without searches]",
            metavar="TIME",
            rich_help_panel=RUNNING,
        ),
    ] = None


def decide(
    rows: Annotated[Path, Argument(help="Labelled rows: CSV, TSV, JSONL or Parquet; or a task TOML.", metavar="ROWS")],
    *,
    model: Annotated[
        str, Option(help="Name of `list models`, folder, GGUF file or hub id; or served:NAME.", metavar="NAME")
    ] = MODEL,
    encoder: Annotated[
        str | None,
        Option(
            help="An encoder to compare, too: a folder or a name; docs/deciding.md. \\[default: all-MiniLM-L6-v2 where "
            "it is installed, by logistic regression alone; none for nothing]",
            metavar="NAME",
        ),
    ] = None,
    queries: Annotated[
        int | None,
        Option(
            help=f"How many queries will be asked. \\[default: {QUERIES}, or those of --prices FILE]",
            metavar="N",
            min=1,
        ),
    ] = None,
    prices: options.PriceSource = None,
    keep: Annotated[
        Path | None, Option(help="Learn from all rows what was decided for, and write it there.", metavar="DIR")
    ] = None,
    plan: Annotated[bool, Option("--plan", help="Show what would be run, and stop.", metavar=FLAG)] = False,
    save_task: Annotated[
        Path | None, Option(help="Write what was assumed of the rows as a task TOML.", metavar="FILE")
    ] = None,
    read: RowsOptions,
    split: SplitOptions,
    scoring: ScoringOptions,
    weights: WeightOptions,
    server: ServerOptions,
    run: RunOptions,
    output: OutputOptions,
    form: Annotated[Format, Option("--format", help="html: a page with a picture.", rich_help_panel=OUTPUT)] = "table",
    out: Annotated[
        Path | None, Option(help="File to write. \\[default: stdout]", metavar="FILE", rich_help_panel=OUTPUT)
    ] = None,
) -> None:
    """Decide between examples in the prompt and tuning, from one file of labelled rows."""
    from peftbench.cli.progress import loading, watch
    from peftbench.cli.screen import say_next, stdout

    progress, seconds = watch(quiet=output.quiet), _seconds(split.budget)
    priced, number = _priced(prices, queries)
    with loading(progress):
        from peftbench.cli import schedule_text
        from peftbench.decision import decide as decision
        from peftbench.decision import encoders
        from peftbench.decision import keep as kept
        from peftbench.decision.schedule import scheduled
        from peftbench.decision.strategies import Split
        from peftbench.models.threads import THREADS
        from peftbench.store.results import Store
    THREADS.number = run.threads
    if keep is not None:
        kept.check(keep)
    choices = options.choices(read.choices)
    task, assumed = decision.read(rows, read.label, read.text or (), read.template, choices)
    for line in (*assumed.lines, *assumed.remarks) if assumed else ():
        progress.say(line)
    if save_task is not None:
        _save_task(save_task, rows, assumed)
    store, rival = Store(output.results), encoders.find(encoder, scoring.max_input_tokens, progress)
    loaded = {"model": model, **weights.table()}
    settings = {**loaded, **run.where(), "scoring": scoring.table(), "server": server.table(model)}
    parts = Split(split.folds, split.repeats, read.group)
    schedule = scheduled(task, settings, parts, seconds, store, progress, encoder=rival, force=run.force)
    again = (read, split, scoring, weights, server, replace(run, force=False, strict=False))
    command = _command(rows, model, encoder, queries, prices) + "".join(map(options.typed, again)) + output.typed()
    if plan:
        typer.echo(schedule_text.terminal(schedule, stdout()), nl=False)
        say_next(progress, command)
        return
    progress.say(schedule_text.sentence(schedule))
    records = decision.carry_out(schedule, store, progress, force=run.force, strict=run.strict)
    verdict = decision.answer(schedule, records, number)
    cell = decision.chosen_cell(verdict, schedule)
    step = f"{command} --keep my-{rows.stem}" if cell else "peftbench list models"
    if keep is not None:
        step = _keep(cell, keep, progress, store) or step
    _write(_answer(verdict, step, schedule, priced), form, out)


def _keep(cell: "Cell | None", folder: Path, progress: "Watch", store: "Store") -> str | None:
    """Learn what was decided for from all rows, and return the command that uses it; None where nothing was."""
    from peftbench.decision.keep import keep

    if cell is None:
        progress.say(f"nothing is written to '{folder}': nothing is shown to be worth it")
        return None
    return keep(cell, folder, progress, store.served).command


def _priced(name: str | None, queries: int | None) -> "tuple[Prices | None, int]":
    """Read prices, where they are given, and return how many queries are decided for.

    Raises:
        CostError: No such prices, or faulty ones.
    """
    from peftbench.costs.prices.read import read

    priced = None if name is None else read(name, queries)
    return priced, queries or (priced.traffic.num_queries if priced else QUERIES)


def _answer(verdict: "Decision", command: str, schedule: "Schedule", prices: "Prices | None") -> "Answer":
    from peftbench.report.evidence.money import of_decision
    from peftbench.report.notes.decision import Answer

    money = of_decision(verdict, prices) if prices else None
    return Answer(verdict, command, schedule.pool.classes, schedule.notes, money)


def _seconds(budget: str | None) -> float | None:
    """Read a time such as 90s, 20m or 1.5h.

    Raises:
        RecipeError: The text is no such time.
    """
    if budget is None:
        return None
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([smh])", budget.strip())
    if not match or not float(match[1]):
        raise RecipeError(f"--budget '{budget[: options.MAX_SHOWN]}' is no time", hint="for example 90s, 20m or 2h")
    return float(match[1]) * UNITS[match[2]]


def _save_task(path: Path, rows: Path, assumed: "Assumed | None") -> None:
    """Write what was assumed as a task TOML.

    Raises:
        RecordError: Nothing was assumed, or the file cannot be written.
    """
    from peftbench.cli.screen import save

    if assumed is None:
        raise RecordError(f"'{rows}' is a task already", hint="--save-task goes with rows")
    save(path, assumed.to_toml(path), hint="--save-task FILE")


def _command(rows: Path, model: str, encoder: str | None, queries: int | None, prices: str | None) -> str:
    """Write the beginning of the command as it is typed."""
    words = ["peftbench", "decide", str(rows)]
    words += [] if model == MODEL else ["--model", model]
    words += [] if encoder is None else ["--encoder", encoder]
    words += [] if queries is None or (queries == QUERIES and prices is None) else ["--queries", str(queries)]
    words += [] if prices is None else ["--prices", prices]
    return shlex.join(words)


def _write(answer: "Answer", form: Format, out: Path | None) -> None:
    """Write the answer to a file, or to stdout.

    Raises:
        RecordError: The file cannot be written.
    """
    from peftbench.cli.screen import save, stdout
    from peftbench.report.formats import decide_text

    if form == "html":
        from peftbench.report.pictures import decision

        content = decision.html(answer)
    elif form == "json":
        content = json.dumps(decide_text.to_json(answer), indent=2) + "\n"
    else:
        content = decide_text.markdown(answer) if form == "md" else decide_text.terminal(answer, stdout())
    if out is None:
        typer.echo(content, nl=False)
    else:
        save(out, content, hint="--out FILE")
