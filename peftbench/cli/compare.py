"""`peftbench compare`: whether two records, or two rows of the report, are different, by a paired test."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from peftbench.cli.options import OUTPUT, RESULTS, Table
from peftbench.store.place import named


def compare(
    a: Annotated[str, Argument(metavar="A", help="A record's id or its beginning; or a row: METHOD@MODEL:SHOTS.")],
    b: Annotated[str, Argument(metavar="B", help="The same; differences are B minus A.")],
    results: Annotated[
        list[Path], Option(help="Folder of the records; repeatable.", metavar="DIR", rich_help_panel=OUTPUT)
    ] = [RESULTS],  # noqa: B006
    form: Table = "table",
) -> None:
    """Test whether A and B are different, over the examples that both answered: icl@mini-gpt:32 ia3@mini-t0."""
    from peftbench.cli.screen import stdout
    from peftbench.report.evidence.compare import compare as test
    from peftbench.report.formats import compare_text
    from peftbench.report.notes import caveats
    from peftbench.report.rows import select

    all_stored = select.read(results)
    options = "" if results == [RESULTS] else "".join(f" --results {shlex.quote(named(folder))}" for folder in results)
    comparison = test(select.choose(a, all_stored), select.choose(b, all_stored))
    findings = caveats.findings(comparison, all_stored, options)
    if form == "json":
        typer.echo(json.dumps(compare_text.to_json(comparison, findings), indent=2))
    else:
        typer.echo(compare_text.terminal(comparison, findings, stdout()), nl=False)
