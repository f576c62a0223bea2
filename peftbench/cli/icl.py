"""`peftbench icl`: in-context learning."""

import shlex
from typing import Annotated

from typer import Option

from peftbench.cli.options import OutputOptions, RunOptions, ScoringOptions, Table, TaskOptions

MODEL = "mini-gpt"


def icl(
    task: TaskOptions,
    scoring: ScoringOptions,
    run: RunOptions,
    output: OutputOptions,
    model: Annotated[str, Option(help="Embedded name, local folder or hub id.")] = MODEL,
    shots: Annotated[int, Option(help="Labelled examples in each prompt; 0 is zero-shot.", min=0)] = 32,
    fit_shots: Annotated[bool, Option("--fit-shots", help="Take as many shots as fit the model's positions.")] = False,
    form: Table = "table",
) -> None:
    """Evaluate in-context learning: k labelled examples in front of every query."""
    from peftbench.cli.experiment import carry_out, cells

    some = cells(
        task,
        run,
        learner="icl",
        model=model,
        shots=shots,
        icl={"fit_shots": fit_shots},
        scoring=scoring.table(),
    )
    step = f"peftbench tune --method ia3{_own_model(model)}{task.typed()}{output.typed()}"
    carry_out(some, run, output, form, step)


def _own_model(model: str) -> str:
    """Stay with a model that was chosen; the default one for tuning is another."""
    return "" if model == MODEL else f" --model {shlex.quote(model)}"
