"""`peftbench run`: the grid of a table or a figure, from a recipe."""

from pathlib import Path
from typing import Annotated

from pydantic import ValidationError
from typer import Argument

from peftbench.cli.options import OutputOptions, RunOptions, Table
from peftbench.errors import RecipeError
from peftbench.registry import PACKAGE
from peftbench.spec.cell import Cell
from peftbench.spec.recipe import Run, cells, read


def run(
    recipes: Annotated[list[str], Argument(metavar="RECIPE", help="TOML files, or names: `peftbench list recipes`.")],
    run: RunOptions,
    output: OutputOptions,
    form: Table = "table",
) -> None:
    """Run everything that a recipe asks for and that has no record yet."""
    from peftbench.cli.cells import carry_out, distinct

    some = [cell for name in recipes for cell in expanded(find(name))]
    update = {"device": run.device, "allow_pickle": run.allow_pickle}
    some = distinct([cell.model_copy(update=update) for cell in some])
    carry_out(some, run, output, form, f"peftbench report{output.typed()}")


def shipped() -> dict[str, Path]:
    """Name -> file of each recipe that comes along: in the package when installed, beside it in a checkout."""
    folders = [folder for folder in (PACKAGE / "recipes", PACKAGE.parent / "recipes") if folder.is_dir()]
    return {path.stem: path for path in sorted(folders[0].glob("*.toml"))} if folders else {}


def find(name: str) -> Path:
    """Find a recipe: a file's path, or the name of one that comes along."""
    path = Path(name)
    return path if path.is_file() else shipped().get(name, path)


def expanded(path: Path) -> list[Cell]:
    """Read a recipe and expand its runs, groups of tasks included.

    Raises:
        RecipeError: The file, or a combination that it asks for, cannot be carried out.
    """
    from peftbench.tasks.load import expand

    def tasks(one: Run) -> list[str]:
        return [
            name
            for task in ([one.task] if isinstance(one.task, str) else one.task)
            for name in expand(task, mixed=one.learner == "tune")
        ]

    try:
        return [cell for one in read(path).run for cell in cells(one, tasks(one))]
    except ValidationError as faults:
        text = "; ".join(dict.fromkeys(fault["msg"].removeprefix("Value error, ") for fault in faults.errors()))
        raise RecipeError(f"recipe '{path}': {text}") from None
