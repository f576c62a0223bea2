"""`peftbench lab`: how the embedded models were made, and what a task looks like."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from peftbench.cli.options import Command, Group, flatten
from peftbench.cli.show import show

lab = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    help="How the embedded models were made; what a task looks like.",
)


lab.command("show", cls=Command)(flatten(show))


@lab.command("build", cls=Command)
@flatten
def build(
    model: Annotated[
        list[str] | None, Option(help="Which model; may be repeated; all where none is named.", metavar="NAME")
    ] = None,
    out: Annotated[Path, Option(help="Folder in which each model gets a folder of its own.", metavar="DIR")] = Path(
        "lab-build"
    ),
    device: Annotated[str, Option(help="cpu, cuda, ...", metavar="NAME")] = "cpu",
    steps: Annotated[int | None, Option(help="Stop after N steps, for a trial.", metavar="N", min=1)] = None,
) -> None:
    """Make the embedded models again from their seed. What was interrupted goes on where it stopped."""
    from peftbench.cli.progress import loading, watch
    from peftbench.cli.screen import say_next

    progress = watch(quiet=False)
    with loading(progress):
        from peftbench.lab.training.build import build as build_model
        from peftbench.lab.training.build import models, read_spec

    names = model or list(models())
    for name in names:  # an unknown name shows before the first hour of training
        read_spec(name, steps)
    for name in names:
        typer.echo(build_model(name, out / name, device, steps))
    say_next(progress, f"peftbench icl --model {shlex.quote(str(out / names[0]))} --shots 32")
