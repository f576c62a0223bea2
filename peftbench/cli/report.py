"""`peftbench report`: everything that was recorded, as a table like the paper's Table 1, or as pictures."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Option

from peftbench.cli.options import OUTPUT, RESULTS, DataFolder, OutputOptions, PriceSource
from peftbench.store.place import named

if TYPE_CHECKING:
    from peftbench.errors import PeftbenchError
    from peftbench.report.notes.document import Document
    from peftbench.store.record import Record

Format = Literal["table", "md", "latex", "json", "csv", "html", "png"]
FILE = "report.csv"
WITHOUT_MONEY = ("latex", "csv", "png")


def report(
    output: OutputOptions,
    reference: Annotated[
        str | None, Option(help="Show published rows below: t-few, raft, lora.", metavar="NAME")
    ] = None,
    sort: Annotated[
        str | None, Option(help="Sort rows by a column: accuracy, inference, disk, ...", metavar="COLUMN")
    ] = None,
    prices: PriceSource = None,
    metrics: Annotated[
        str | None,
        Option(
            help="Instead: outputs of written answers scored anew, a column for each: bleu,nist,rouge_l,cider.",
            metavar="NAME,NAME",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        Option(help="With --metrics: TOML of a task of your own, for its references; repeatable.", metavar="FILE"),
    ] = None,
    data: DataFolder = None,
    form: Annotated[
        Format, Option("--format", help="html: one page with pictures. png: its pictures.", rich_help_panel=OUTPUT)
    ] = "table",
    out: Annotated[
        Path | None,
        Option(
            help="File to write. \\[default: stdout; html and png: results/report.FORMAT]",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Show all records as a table: accuracy beside FLOPs, bytes and trained parameters.

    The records in results/ give results/report.csv, too; another folder, named by --results, is only read.
    """
    from peftbench.cli.progress import watch
    from peftbench.cli.screen import say_next
    from peftbench.costs.prices.read import read
    from peftbench.errors import RecordError
    from peftbench.report.formats.data import to_csv
    from peftbench.report.notes import steps
    from peftbench.report.notes.document import compose
    from peftbench.report.rows.reference import published
    from peftbench.report.rows.sort import ordered
    from peftbench.store.collector import uncollected

    if metrics is not None:
        _by_metrics(
            metrics,
            output,
            task or [],
            data,
            form,
            out,
            options={"--sort": sort, "--reference": reference, "--prices": prices},
        )
        return
    if prices is not None and form in WITHOUT_MONEY:
        raise RecordError(f"--format {form} has no place for money", hint="--prices goes with table, md, json and html")
    priced = None if prices is None else read(prices)
    is_own = output.results.absolute() == RESULTS.absolute()
    if out is None and form in {"html", "png"}:
        out = _beside_records(output.results, form, is_own=is_own)
    printed = published(reference) if reference else ()
    progress = watch(quiet=output.quiet)
    with uncollected():
        records, left_out = readable(output, may_be_none=bool(printed))
        document = compose(records, printed, left_out, priced)
        if sort:
            document = replace(document, tables=tuple(ordered(document.tables, sort)))
        content = _content(document, form)
    failed = None
    if out:
        failed = _write(out, content, progress.say)
    else:
        typer.echo(content, nl=False)
    if records and is_own:
        failed = _write(output.results / FILE, to_csv(document), progress.say) or failed
    if failed:
        raise failed
    step = _first(output)
    if records:
        step = steps.step(document.tables[0], output.results / "adapters") + output.typed()
    say_next(progress, step)


def _by_metrics(
    metrics: str,
    output: OutputOptions,
    tasks: list[str],
    data: Path | None,
    form: Format,
    out: Path | None,
    options: dict[str, object],
) -> None:
    """Show outputs by several metrics.

    Raises:
        RecordError: Options that go with a report's own tables.
    """
    from peftbench.cli import report_metrics
    from peftbench.cli.progress import watch
    from peftbench.errors import RecordError

    wrong = [name for name, value in options.items() if value is not None]
    if form not in report_metrics.FORMS:
        wrong.append(f"--format {form}")
    if wrong:
        message = f"--metrics shows outputs by several metrics, and does not go with {', '.join(wrong)}"
        raise RecordError(message, hint="--format table, md, latex, json or csv")
    progress = watch(quiet=output.quiet)
    content = report_metrics.tables(metrics, output, tasks, data, form, progress)
    if out is None:
        typer.echo(content, nl=False)
    elif fault := _write(out, content, progress.say):
        raise fault


def _beside_records(results: Path, form: Format, *, is_own: bool) -> Path:
    """Return the file that a page or a picture goes to where nobody said which.

    Raises:
        RecordError: The folder is not one's own results, and so is only read.
    """
    from peftbench.errors import RecordError

    if not is_own:
        message = f"--format {form} is a file, and '{named(results)}', named by --results, is only read"
        raise RecordError(message, hint=f"say where it goes: --out report.{form}")
    return results / f"report.{form}"


def readable(output: OutputOptions, may_be_none: bool = False) -> "tuple[list[Record], list[str]]":
    """Read the records that are whole, those of folds joined, and name on stderr what is left out, and why.

    Raises:
        RecordError: None is whole.
    """
    from peftbench.errors import RecordError
    from peftbench.report.formats import escape
    from peftbench.report.rows.folds import join
    from peftbench.store.results import Store

    records, faults = Store(output.results).readable()
    if not records and faults:
        raise faults[0]
    if not records and not may_be_none:
        raise RecordError(f"no records in '{named(output.results)}'", hint=f"`{_first(output)}` makes the first ones")
    for fault in faults:
        typer.echo(f"left out: {escape.line(fault.message)}\nhint: {escape.line(str(fault.hint))}", err=True)
    joined, incomplete = join(records)
    if not joined:  # whoever puts them in a table says why
        return records, [fault.message for fault in faults]
    for reason in incomplete:
        typer.echo(f"left out: {escape.line(reason)}", err=True)
    return joined, [*(fault.message for fault in faults), *incomplete]


def _first(output: OutputOptions) -> str:
    return f"peftbench icl --shots 32{output.typed()}"


def _content(document: "Document", form: Format) -> str | bytes:
    """Write a report in a format."""
    if form == "html":
        from peftbench.report.pictures.page import html

        return html(document)
    if form == "png":
        from peftbench.report.pictures.plots import png

        return png(document)
    from peftbench.cli.screen import rendered

    return rendered(document, form)


def _write(path: Path, content: str | bytes, say: Callable[[str], None]) -> "PeftbenchError | None":
    """Write a file whole or not at all; return what went wrong, so that the rest is still made."""
    from peftbench.cli.screen import save
    from peftbench.errors import RecordError

    try:
        save(path, content, hint="everything else was made; give a place that you may write to")
    except RecordError as fault:
        return fault
    say(f"wrote {path}")
    return None
