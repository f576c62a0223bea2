"""`peftbench list`: what there is to run; looks without importing torch, and reads no weights."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer import Argument

from peftbench.cli.options import Table


class Kind(StrEnum):
    """What can be listed."""

    methods = "methods"
    tasks = "tasks"
    models = "models"
    recipes = "recipes"


@dataclass(frozen=True)
class Listing:
    """Lines with equal fields, how to use one, and a remark.

    Args:
        hidden: Fields that only --format json shows.
        beside: Lines of another kind, which the remark introduces.
    """

    lines: Sequence[dict[str, Any]]
    step: str
    remark: str = ""
    hidden: frozenset[str] = frozenset()
    beside: Sequence[dict[str, Any]] = ()


def show_list(kind: Annotated[Kind, Argument(help="What to list.", metavar="KIND")], form: Table = "table") -> None:
    """List methods, tasks, models or recipes."""
    from peftbench.cli import catalogue
    from peftbench.cli.progress import watch
    from peftbench.cli.screen import say_next

    listing: Listing = getattr(catalogue, kind.value)()
    if form == "json":
        typer.echo(json.dumps([*listing.lines, *listing.beside], indent=2))
        return
    typer.echo(_drawn(listing), nl=False)
    say_next(watch(quiet=False), listing.step)


def _drawn(listing: Listing) -> str:
    from peftbench.cli.screen import stdout
    from peftbench.report.formats.text import draw

    lines = [{name: value for name, value in line.items() if name not in listing.hidden} for line in listing.lines]
    pieces = [_grid(lines) if lines else "none", *(["", listing.remark] if listing.remark else [])]
    return draw(stdout(), [*pieces, *(["", _grid(listing.beside)] if listing.beside else [])])


def _grid(lines: Sequence[dict[str, Any]]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for name, value in lines[0].items():
        header = name.removeprefix("num_").removesuffix("_bytes")
        grid.add_column(header, justify="left" if isinstance(value, str) else "right", overflow="fold")
    for line in lines:
        grid.add_row(*(Text(_text(name, value)) for name, value in line.items()))
    return grid


def _text(name: str, value: Any) -> str:
    from peftbench.report.rows import units

    if value is None:
        return "-"
    forms = {"num_parameters": units.number, "disk_bytes": units.size, "chance": units.percent}
    return forms.get(name, str)(value)
