"""`peftbench report`: everything that was recorded, as a table like the paper's Table 1."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Option

from peftbench.cli.options import OutputOptions

FILE = "report.csv"


def report(
    output: OutputOptions,
    reference: Annotated[str | None, Option(help="Show published rows below: t-few.", metavar="NAME")] = None,
    form: Annotated[Literal["table", "md", "latex", "json", "csv"], Option("--format", help="How to print.")] = "table",
) -> None:
    """Show all records as a table, also in report.csv: accuracy beside FLOPs, bytes and trained parameters."""
    from peftbench.cli.show import rendered, say_next
    from peftbench.cli.watch import watch
    from peftbench.errors import RecordError
    from peftbench.record import Store
    from peftbench.report import data, steps
    from peftbench.report.document import compose
    from peftbench.report.reference import published

    extra = published(reference) if reference else None
    records = Store(output.results).all()
    first = f"peftbench icl --shots 32{output.typed()}"
    if not records and extra is None:
        raise RecordError(f"no records in '{output.results}'", hint=f"`{first}` makes the first ones")
    document = compose(records, extra)
    onlooker = watch(quiet=output.quiet)
    typer.echo(rendered(document, form), nl=False)
    if records:
        path = output.results / FILE
        _write(path, data.to_csv(document))
        onlooker.say(f"wrote {path}")
    say_next(onlooker, steps.step(document.tables[0]) + output.typed() if records else first)


def _write(path: Path, text: str) -> None:
    from peftbench.errors import RecordError
    from peftbench.record import replacing

    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(f"cannot write '{path}': {error.strerror}", hint="the table above is complete") from None
