"""A report on stdout, in each of its formats."""

import json
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from peftbench.cli.progress import Watch

if TYPE_CHECKING:
    from peftbench.report.notes.document import Document

TextFormat = Literal["table", "md", "latex", "json", "csv"]
WIDTH = 100
"""Columns where stdout is no terminal."""


def rendered(document: "Document", form: TextFormat) -> str:
    """Write a report in a format."""
    from peftbench.report.formats import data, text

    if form == "table":
        return text.terminal(document, stdout())
    if form == "json":
        return json.dumps(data.to_json(document), indent=2) + "\n"
    return {"md": text.markdown, "latex": text.latex, "csv": data.to_csv}[form](document)


def stdout() -> Console:
    """Make a console for stdout, as wide as the terminal; where there is none, as wide as COLUMNS says."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in console._environ else Console(width=WIDTH)


def say_next(progress: Watch, step: str) -> None:
    """Name the command to type next."""
    progress.say(f"\nnext: {step}")
