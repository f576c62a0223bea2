"""`peftbench run`: the grid of a table or a figure, from a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from peftbench.cli.options import RUNNING, DataFolder, KeepFolder, OutputOptions, RunOptions, Table
from peftbench.cli.workers import Workers
from peftbench.errors import RecipeError

if TYPE_CHECKING:
    from peftbench.spec.cell import Cell
    from peftbench.spec.recipe import Run


def run(
    recipes: Annotated[list[str], Argument(metavar="RECIPE", help="TOML files, or names: `peftbench list recipes`.")],
    run: RunOptions,
    output: OutputOptions,
    workers: Workers,
    data: DataFolder = None,
    shard: Annotated[
        str | None,
        Option(
            help="Run one part of the cells: 2/4 is the second of four, for other terminals or the tasks of a cluster.",
            metavar="I/N",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    keep: KeepFolder = None,
    form: Table = "table",
) -> None:
    """Run everything that a recipe asks for and that has no record yet."""
    from peftbench.cli import kept
    from peftbench.cli.cells import carry_out, distinct
    from peftbench.flow.shards import Shard
    from peftbench.spec.recipe import find

    part = None if shard is None else Shard.read(shard)

    requested = [cell.model_copy(update=run.where()) for name in recipes for cell in expanded(find(name), data)]
    cells = distinct(requested) if part is None else part.take(distinct(requested))
    if not cells:
        raise RecipeError(f"--shard {shard} is empty: there are {len(distinct(requested))} cells", hint="fewer parts")
    if keep is not None:
        kept.keep(cells, keep, threads=run.threads, quiet=output.quiet)
        return
    carry_out(cells, run, output, form, f"peftbench report{output.typed()}", workers)


def expanded(path: Path, data: Path | None = None) -> "list[Cell]":
    """Read a recipe and expand its runs, groups of tasks included.

    Args:
        path: The recipe.
        data: Folder of the tasks' rows.

    Raises:
        RecipeError: The file, or a combination that it asks for, cannot be carried out.
        TaskError: Rows that `shots = "all"` counts cannot be read.
    """
    from pydantic import ValidationError

    from peftbench.spec.cell import TaskSpec
    from peftbench.spec.recipe import cells, read
    from peftbench.tasks.all_rows import AllRows
    from peftbench.tasks.load import expand

    def tasks(named: str | list[str], *, as_mixture: bool = False) -> list[TaskSpec]:
        names = [named] if isinstance(named, str) else named
        members = [task for name in names for task in expand(name, as_mixture=as_mixture)]
        return [TaskSpec(name=name, data=data) for name in members]

    def of(run: "Run") -> "list[Cell]":
        named = tasks(run.task, as_mixture=run.learner == "tune")
        return cells(run, named, AllRows().number, [None] if run.source_task is None else tasks(run.source_task))

    try:
        return [cell for run in read(path).run for cell in of(run)]
    except ValidationError as faults:
        text = "; ".join(dict.fromkeys(fault["msg"].removeprefix("Value error, ") for fault in faults.errors()))
        hint = "`peftbench list recipes` names those that come along; each is a TOML to copy from"
        raise RecipeError(f"recipe '{path}': {text}", hint=hint) from None
