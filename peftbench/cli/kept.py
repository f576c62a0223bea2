"""`run --keep` and `tune --keep`: what cells say, learned from all labelled rows of each task, and tested on none."""

from collections.abc import Sequence
from pathlib import Path

from peftbench.cli.progress import loading, watch
from peftbench.cli.screen import say_next
from peftbench.errors import RecipeError
from peftbench.spec.cell import Cell


def keep(cells: Sequence[Cell], folder: Path, *, threads: int | None, quiet: bool) -> None:
    """Learn each task from all of its labelled rows, and write folder/TASK, which `predict` and `submit` take.

    Args:
        cells: What is learned: prompts from as many shots as they say, all else from all rows. Folds do not count, and
            zero-shot learns nothing.
        folder: Is made.
        threads: Of torch; None for as many as suit the model.
        quiet: Whether nothing is told of progress.

    Raises:
        PeftbenchError: Nothing is learned, or a task in two ways; as learning; or the folder cannot be written.
    """
    progress = watch(quiet=quiet)
    with loading(progress):
        from peftbench.decision import keep as kept
        from peftbench.models.threads import THREADS
        from peftbench.tasks.load import load
    THREADS.number = threads
    alone = by_task(cells)
    kept.check(folder)
    for number, (name, cell) in enumerate(alone.items(), start=1):
        num_shots = len(load(cell.task, as_pool=True).train) if cell.learner == "tune" else cell.shots
        part = kept.keep(cell.model_copy(update={"shots": num_shots}), folder / name, progress)
        progress.say(f"[{number}/{len(alone)}] {name}: learned from {num_shots} rows, in {part.folder}")
    say_next(progress, part.command)


def by_task(cells: Sequence[Cell]) -> dict[str, Cell]:
    """Name the cell of each task, without its fold.

    Raises:
        RecipeError: Nothing is learned, or a task in two ways.
    """
    alike: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        if cell.shots:
            shots = 1 if cell.learner == "tune" else cell.shots
            bare = cell.model_copy(update={"fold": None, "shots": shots})
            alike.setdefault(cell.task.name, {})[bare.model_dump_json()] = bare
    several = [f"{name} in {len(ways)} ways" for name, ways in alike.items() if len(ways) > 1]
    if several or not alike:
        message = f"--keep learns each task once, and here it is {', '.join(several) or 'none at all'}"
        raise RecipeError(message, hint="one learner, model, method and seed for a task")
    return {name: cell for name, ways in alike.items() for cell in ways.values()}
