"""What commands print on stdout, and write into files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from peftbench.cli.progress import Watch
from peftbench.errors import RecordError
from peftbench.store.files import replacing

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


def save(path: Path, content: str | bytes, hint: str) -> None:
    """Write a file whole or not at all.

    Raises:
        RecordError: It cannot be written.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content if isinstance(content, bytes) else content.encode())
    except OSError as error:
        raise RecordError(f"cannot write '{path}': {error.strerror}", hint=hint) from None
