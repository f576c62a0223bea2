"""`peftbench icl`: in-context learning."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

from peftbench.cli.options import (
    FLAG,
    SHOTS,
    OutputOptions,
    RunOptions,
    ScoringOptions,
    ServerOptions,
    Table,
    TaskOptions,
    WeightOptions,
)
from peftbench.spec.cell import BLOCK_SHOTS
from peftbench.spec.limits import MAX_ORDERS, MAX_SHOTS

MODEL = "mini-gpt"
SHOTS_PANEL = "Shots"
DRAWS = ("balanced", "kmeans")
"""What `--select` and `--draw` both take."""


@dataclass(frozen=True)
class ShotOptions:
    """How prompts show the shots."""

    fit_shots: Annotated[
        bool,
        Option(
            "--fit-shots",
            help="Take as many shots as fit the model's positions.",
            metavar=FLAG,
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = False
    select: Annotated[
        Literal["random", "balanced", "kmeans", "bm25", "embedding"],
        Option(
            help="Draw shots, the same before all queries (balanced, kmeans: --draw); or choose for each query the "
            "training rows that are most like it: bm25 by their words, embedding by the model's states.",
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = "random"
    embedder: Annotated[
        Path | None,
        Option(
            help="With --select embedding: compare by a sentence model, a folder of sentence-transformers.",
            metavar="DIR",
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = None
    pool: Annotated[
        int | None,
        Option(
            help="With --select bm25 or embedding: choose among N rows that the seed draws. \\[default: all]",
            metavar="N",
            min=1,
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = None
    attention: Annotated[
        Literal["full", "block"],
        Option(
            help="Let each shot see all those before it; or run blocks of shots that do not see each other, while the "
            "query sees them all: fewer FLOPs, an approximation.",
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = "full"
    block_shots: Annotated[
        int,
        Option(
            help="With --attention block: shots of a block.",
            metavar="N",
            min=1,
            max=MAX_SHOTS,
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = BLOCK_SHOTS
    orders: Annotated[
        int,
        Option(
            help="Run N orders of the shots, a record each.",
            metavar="N",
            min=1,
            max=MAX_ORDERS,
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = 1
    labels: Annotated[
        Literal["gold", "random", "flipped"],
        Option(help="Labels that the shots show; queries keep theirs.", rich_help_panel=SHOTS_PANEL),
    ] = "gold"
    ensemble: Annotated[
        Literal["none", "mean", "vote"],
        Option(help="One prompt for each shot: mean of probabilities, or vote.", rich_help_panel=SHOTS_PANEL),
    ] = "none"
    calibrate: Annotated[
        bool,
        Option(
            "--calibrate",
            help="Divide by the choices' probabilities whatever is asked.",
            metavar=FLAG,
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = False
    calibrate_by: Annotated[
        Literal["contextual", "batch", "domain"] | None,
        Option(
            help="Estimate these from queries without content, from training rows that are no shots, or from random "
            "words of theirs. \\[default: contextual]",
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = None
    content_free: Annotated[
        list[str] | None,
        Option(
            help="Calibrate with this text, or several. \\[default: N/A and \\[MASK]]",
            metavar="TEXT",
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = None
    as_prefix: Annotated[
        bool,
        Option(
            "--as-prefix",
            help="Save the shots as an adapter of prefix_tuning, and answer with it.",
            metavar=FLAG,
            rich_help_panel=SHOTS_PANEL,
        ),
    ] = False

    def drawing(self, task: TaskOptions) -> TaskOptions:
        """Return the options of rows: shots that are the same for all queries are a draw, whatever learns from them."""
        if self.select == "balanced" or self.select == "kmeans":
            return replace(task, draw=self.select)
        return task

    def tables(self) -> list[dict[str, Any]]:
        """Return the fields of `spec.cell.IclOptions`, a table for each order."""
        table = {
            "fit_shots": self.fit_shots,
            "labels": self.labels,
            "ensemble": self.ensemble,
            "calibrate": self.calibrate or bool(self.content_free) or self.calibrate_by is not None,
            "calibrate_by": self.calibrate_by or "contextual",
            "as_prefix": self.as_prefix,
            "select": "random" if self.select in DRAWS else self.select,
            "embedder": self.embedder,
            "pool": self.pool,
            "attention": self.attention,
            "block_shots": self.block_shots,
        }
        texts = {"content_free": tuple(self.content_free)} if self.content_free else {}
        return [table | texts | {"order": order} for order in range(self.orders)]


def icl(
    *,
    model: Annotated[
        str, Option(help="Name of `list models`, folder, GGUF file or hub id; or served:NAME.", metavar="NAME")
    ] = MODEL,
    shots: Annotated[
        str | None,
        Option(
            help="Labelled examples in each prompt: a number, 0 is zero-shot, or all. "
            f"\\[default: {SHOTS}, or all of --shots-from]",
            metavar="K",
        ),
    ] = None,
    prompts: ShotOptions,
    task: TaskOptions,
    scoring: ScoringOptions,
    weights: WeightOptions,
    server: ServerOptions,
    run: RunOptions,
    output: OutputOptions,
    form: Table = "table",
) -> None:
    """Evaluate in-context learning: k labelled examples in front of every query."""
    from peftbench.cli.cells import carry_out, requested_cells

    task = prompts.drawing(task)
    shared: dict[str, Any] = {"learner": "icl", "model": model, "shots": task.num_shots(shots)}
    shared |= {"scoring": scoring.table(), "server": server.table(model)}
    tables = [shared | {"icl": options} for options in prompts.tables()]
    cells = [cell for table in tables for cell in requested_cells(task, weights, run, **table)]
    step = f"peftbench tune --method ia3{_own_model(server.like(model))}{_own_shots(shots)}{task.typed()}"
    carry_out(cells, run, output, form, f"{step}{scoring.typed()}{output.typed()}")


def _own_shots(shots: str | None) -> str:
    """Write the option to tune on as many shots as the prompt had; zero-shot comes with tuning anyway."""
    return "" if shots in {None, "0", str(SHOTS)} else f" --shots {shots}"


def _own_model(model: str) -> str:
    """Write the option to tune a model that was chosen; the default for tuning is another."""
    return "" if model == MODEL else f" --model {shlex.quote(model)}"
