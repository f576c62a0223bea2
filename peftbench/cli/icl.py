"""`peftbench icl`: in-context learning."""

import shlex
from typing import Annotated

from typer import Option

from peftbench.cli.options import FLAG, OutputOptions, RunOptions, ScoringOptions, Table, TaskOptions, WeightOptions

MODEL = "mini-gpt"
SHOTS = 32


def icl(
    task: TaskOptions,
    scoring: ScoringOptions,
    weights: WeightOptions,
    run: RunOptions,
    output: OutputOptions,
    model: Annotated[str, Option(help="Embedded name, local folder or hub id.", metavar="NAME")] = MODEL,
    shots: Annotated[int, Option(help="Labelled examples in each prompt; 0 is zero-shot.", metavar="K", min=0)] = SHOTS,
    fit_shots: Annotated[
        bool, Option("--fit-shots", help="Take as many shots as fit the model's positions.", metavar=FLAG)
    ] = False,
    form: Table = "table",
) -> None:
    """Evaluate in-context learning: k labelled examples in front of every query."""
    from peftbench.cli.experiment import carry_out, cells

    some = cells(
        task,
        weights,
        run,
        learner="icl",
        model=model,
        shots=shots,
        icl={"fit_shots": fit_shots},
        scoring=scoring.table(),
    )
    step = f"peftbench tune --method ia3{_own_model(model)}{_own_shots(shots)}{task.typed()}{output.typed()}"
    carry_out(some, run, output, form, step)


def _own_shots(shots: int) -> str:
    """Tune on as many shots as stood in the prompt; zero-shot comes with tuning anyway."""
    return "" if shots in {0, SHOTS} else f" --shots {shots}"


def _own_model(model: str) -> str:
    """Stay with a model that was chosen; the default one for tuning is another."""
    return "" if model == MODEL else f" --model {shlex.quote(model)}"
