"""`peftbench report`: everything that was recorded, as a table like the paper's Table 1, or as pictures."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Option

from peftbench.cli.options import OUTPUT, OutputOptions

if TYPE_CHECKING:
    from peftbench.errors import PeftbenchError
    from peftbench.report.notes.document import Document
    from peftbench.store.record import Record

Form = Literal["table", "md", "latex", "json", "csv", "html", "png"]
FILE = "report.csv"


def report(
    output: OutputOptions,
    reference: Annotated[str | None, Option(help="Show published rows below: t-few.", metavar="NAME")] = None,
    sort: Annotated[
        str | None, Option(help="Sort rows by a column: accuracy, inference, disk, ...", metavar="COLUMN")
    ] = None,
    form: Annotated[
        Form, Option("--format", help="html: one page with pictures. png: its pictures.", rich_help_panel=OUTPUT)
    ] = "table",
    out: Annotated[
        Path | None,
        Option(
            help="File to write. \\[default: stdout; html and png: report.FORMAT in the results]",
            metavar="FILE",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Show all records as a table, also in report.csv: accuracy beside FLOPs, bytes and trained parameters."""
    from peftbench.cli.progress import watch
    from peftbench.cli.screen import say_next
    from peftbench.report.formats import data
    from peftbench.report.notes import steps
    from peftbench.report.notes.document import compose
    from peftbench.report.rows.reference import published
    from peftbench.report.rows.sort import ordered

    extra = published(reference) if reference else None
    onlooker = watch(quiet=output.quiet)
    with _uncollected():
        records, left_out = readable(output, may_be_none=extra is not None)
        document = compose(records, extra, left_out)
        if sort:
            document = replace(document, tables=tuple(ordered(document.tables, sort)))
        content = _content(document, form)
    if out is None and form in {"html", "png"}:
        out = output.results / f"report.{form}"
    failed = None
    if out:
        failed = _write(out, content, onlooker.say)
    else:
        typer.echo(content, nl=False)
    if records:
        failed = _write(output.results / FILE, data.to_csv(document), onlooker.say) or failed
    if failed:
        raise failed
    say_next(
        onlooker,
        steps.step(document.tables[0], output.results / "adapters") + output.typed() if records else _first(output),
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no unreachable objects: records leave few behind, and to look takes a sixth of a large report's time."""
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def readable(output: OutputOptions, may_be_none: bool = False) -> "tuple[list[Record], list[str]]":
    """Read the records that are whole, and say of each other file on stderr that it is left out, and why.

    Raises:
        RecordError: None is whole.
    """
    from peftbench.errors import RecordError
    from peftbench.store.results import Store

    records, faults = Store(output.results).readable()
    if not records and faults:
        raise faults[0]
    if not records and not may_be_none:
        raise RecordError(f"no records in '{output.results}'", hint=f"`{_first(output)}` makes the first ones")
    for fault in faults:
        typer.echo(f"left out: {fault.message}\nhint: {fault.hint}", err=True)
    return records, [fault.message for fault in faults]


def _first(output: OutputOptions) -> str:
    return f"peftbench icl --shots 32{output.typed()}"


def _content(document: "Document", form: Form) -> str | bytes:
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
    """Write a file whole or not at all; give back what went wrong, so that the rest is still made."""
    from peftbench.errors import RecordError
    from peftbench.store.files import replacing

    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        hint = "everything else was made; give a place that you may write to"
        return RecordError(f"cannot write '{path}': {error.strerror}", hint=hint)
    say(f"wrote {path}")
    return None
