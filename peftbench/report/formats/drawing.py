"""What a console shows, as text."""

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.text import Text

from peftbench.report.formats import escape


def draw(console: Console, parts: Iterable[RenderableType]) -> str:
    """Return what the console would print, one part below the other; no blanks at line ends if it is no terminal."""
    with console.capture() as captured:
        for part in parts:
            console.print(_plain(part), markup=False, highlight=False, emoji=False)
    text = captured.get()
    return text if console.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _plain(part: RenderableType) -> RenderableType:
    """Write a line of text as such; what stands in grids is text already."""
    if isinstance(part, Text):
        return Text(escape.terminal(part.plain), part.style)
    return escape.terminal(part) if isinstance(part, str) else part
