"""A recipe says what to run; it expands to cells, and one cell gives one record."""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from peftbench.errors import RecipeError
from peftbench.registry import PACKAGE
from peftbench.spec import limits, values
from peftbench.spec.cell import Cell, Draw, Fold, IclOptions, ScoringOptions, Server, Sweep, TaskSpec
from peftbench.spec.settings import Settings, checked

NumShots = int | Literal["all"]


class Run(Settings):
    """One [[run]] table of a recipe: a cell whose model, task, shots, seed, method and settings may be lists.

    Args:
        shots: Numbers, or "all": as many as there are training rows.
        set: The method's settings; a list of tables is tried one by one.
        training: Its training settings, likewise.
        orders: How many orders of the shots to run, that of the draw being the first.
        source_task: Tasks that are tuned on, where they are others than `task`, whose test rows are answered.
        folds: Parts of the training rows, each tested by what is learned from the others; None for the test rows.
        group: Column of rows that stand in one fold.
    """

    learner: Literal["icl", "tune"]
    model: str | list[str]
    task: str | list[str]
    shots: NumShots | list[NumShots] = 32
    seeds: list[int] = [0]
    method: str | list[str] | None = None
    set: dict[str, Any] | list[dict[str, Any]] = {}
    training: dict[str, Any] | list[dict[str, Any]] = {}
    source_task: str | list[str] | None = None
    start_from: Path | None = None
    sweep: Sweep | None = None
    icl: IclOptions = IclOptions()
    scoring: ScoringOptions = ScoringOptions()
    templates: list[int] | None = None
    limit: int | None = None
    draw: Draw = "plain"
    orders: int = Field(1, ge=1, le=limits.MAX_ORDERS)
    folds: int | None = Field(None, ge=2, le=limits.MAX_FOLDS)
    group: str | None = None
    server: Server | None = None
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    load: Literal["4bit", "8bit"] | None = None

    @model_validator(mode="after")
    def _group_goes_with_folds(self) -> "Run":
        if self.group is not None and self.folds is None:
            raise ValueError("group says which rows stand in one fold, and there are no folds: add folds = 5")
        return self


class Recipe(Settings):
    """The contents of a recipe TOML: what it reproduces, and its runs."""

    name: str
    description: str
    run: list[Run] = Field(min_length=1)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def cells(
    run: Run, tasks: Sequence[TaskSpec], number: Callable[..., int], sources: Sequence[TaskSpec | None] = (None,)
) -> list[Cell]:
    """Expand one run over models, tasks, methods, settings, shots, seeds, folds and orders.

    Args:
        run: The table.
        tasks: Those that `run.task` names, groups resolved.
        number: (shots, task, fold, seed, pool of chosen shots) -> number of shots; see `tasks.all_rows`.
        sources: Those that `run.source_task` names, likewise; None where the task itself is learned from.

    Raises:
        RecipeError: They are more than `limits.MAX_CELLS`.
    """
    axes = [_listed(run.model), tasks, *map(_listed, (run.method, run.set, run.training, run.shots)), run.seeds]
    axes += [folds(run.folds, run.group), sources]
    expanded = {"model", "task", "source_task", "shots", "seeds", "orders", "folds", "group", "method", "set"}
    expanded |= {"training", "icl"}
    shared = run.model_dump(exclude=expanded)
    num_cells = math.prod(map(len, axes)) * run.orders
    if num_cells > limits.MAX_CELLS:
        message = f"a run of {num_cells:,} cells, and {limits.MAX_CELLS:,} are the most"
        raise RecipeError(
            message, hint="several recipes, or fewer values: each of one list goes with each of the others"
        )
    return [
        Cell(
            **shared,
            model=model,
            task=task,
            source_task=source,
            method=method,
            method_config=settings,
            training=training,
            shots=number(shots, source or task, fold, seed, run.icl.pool),
            seed=seed,
            fold=fold,
            icl=icl,
        )
        for model, task, method, settings, training, shots, seed, fold, source in itertools.product(*axes)
        for icl in in_orders(run.icl, run.orders)
    ]


def in_orders(options: IclOptions, orders: int) -> list[IclOptions]:
    """Repeat the options for each order of the shots."""
    return [options.model_copy(update={"order": order}) for order in range(orders)] if orders > 1 else [options]


def folds(number: int | None, group: str | None) -> list[Fold | None]:
    """List the folds that a run tests; None alone where it tests the test rows."""
    return [None] if number is None else [Fold(index=index, of=number, group=group) for index in range(number)]


def read(path: Path) -> Recipe:
    """Read and check a recipe file.

    Raises:
        RecipeError: The file is missing, is no TOML, or has faults; all faults are listed at once.
    """
    try:
        table = values.toml_file(path)
    except OSError as error:
        raise RecipeError(
            f"cannot read recipe '{path}': {error.strerror}",
            hint="`peftbench list recipes` names those that come along",
        ) from None
    except ValueError as error:  # no TOML, no UTF-8, or a value beyond the limits
        hint = "`peftbench list recipes` names those that come along; each is a TOML to copy from"
        raise RecipeError(f"recipe '{path}' is not valid TOML: {error}", hint=hint) from None
    return checked(Recipe, table, f"recipe '{path}'", RecipeError)


def shipped() -> dict[str, Path]:
    """Map each recipe that comes along to its file: in the package when installed, beside it in a checkout."""
    folders = [folder for folder in (PACKAGE / "recipes", PACKAGE.parent / "recipes") if folder.is_dir()]
    return {path.stem: path for path in sorted(folders[0].glob("*.toml"))} if folders else {}


def find(name: str) -> Path:
    """Find a recipe: a file's path, or the name of one that comes along."""
    path = Path(name)
    return path if path.is_file() else shipped().get(name, path)
