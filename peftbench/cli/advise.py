"""`peftbench advise`: which row is the cheapest that is good enough, from what was recorded."""

import json
from typing import Annotated

import typer
from typer import Option

from peftbench.cli.options import OutputOptions, PriceSource, Table
from peftbench.errors import RecipeError


def advise(
    output: OutputOptions,
    queries: Annotated[
        int | None,
        Option(help="How many queries will be asked. Required without --prices FILE.", metavar="N", min=1),
    ] = None,
    min_score: Annotated[
        float | None,
        Option(
            help="Good enough in the task's metric: 0.6, or 60; of NIST, CIDEr and TER as tables show it. "
            "\\[default: not shown to be worse than the best]",
            metavar="S",
            min=0,
            max=100,
        ),
    ] = None,
    prices: PriceSource = None,
    form: Table = "table",
) -> None:
    """Say which row is the cheapest that is good enough for N queries, or what to run to find out."""
    from peftbench.cli.report import readable
    from peftbench.cli.screen import stdout
    from peftbench.costs.prices.read import read
    from peftbench.report.evidence.advise import advise as judge
    from peftbench.report.formats import advise_text
    from peftbench.report.notes.document import compose
    from peftbench.report.rows.metric import hundredths

    if queries is None and prices is None:
        raise RecipeError("Missing option '--queries'", hint="`peftbench advise --help` shows the options")
    priced = None if prices is None else read(prices, queries)
    records, _ = readable(output)
    document = compose(records)
    number = queries or (priced.traffic.num_queries if priced else 1)
    tables = [judge(table, number, hundredths(min_score, table.metric), priced) for table in document.tables]
    if form == "json":
        typer.echo(json.dumps(advise_text.to_json(tables, output.typed()), indent=2))
    else:
        typer.echo(advise_text.terminal(tables, stdout(), output.typed()), nl=False)
