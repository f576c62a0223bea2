"""`peftbench tune`: few-shot fine-tuning."""

from typing import Annotated

from typer import Option

from peftbench.cli.options import (
    OutputOptions,
    RunOptions,
    ScoringOptions,
    Table,
    TaskOptions,
    WeightOptions,
    assignments,
)

MODEL = "mini-t0"


def tune(
    task: TaskOptions,
    scoring: ScoringOptions,
    weights: WeightOptions,
    run: RunOptions,
    output: OutputOptions,
    method: Annotated[str, Option(help="What is trained: `peftbench list methods`.", metavar="NAME")],
    model: Annotated[str, Option(help="Embedded name, local folder or hub id.", metavar="NAME")] = MODEL,
    shots: Annotated[int, Option(help="Labelled examples to train on.", metavar="K", min=1)] = 32,
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="A field of the method or of its training: rank=8, lr=1e-3."),
    ] = None,
    form: Table = "table",
) -> None:
    """Evaluate few-shot tuning, beside the same model's zero-shot."""
    from peftbench import registry
    from peftbench.cli.experiment import carry_out, cells
    from peftbench.errors import MethodError
    from peftbench.recipe import Training

    registry.known(method, registry.METHODS, "method", MethodError)
    table = assignments(settings or [])
    training = {name: value for name, value in table.items() if name in Training.model_fields}
    config = {name: value for name, value in table.items() if name not in training}
    shared = {"model": model, "scoring": scoring.table()}
    tuning = {"shots": shots, "method": method, "method_config": config, "training": training}
    some = [
        *cells(task, weights, run, learner="icl", shots=0, **shared),
        *cells(task, weights, run, learner="tune", **tuning, **shared),
    ]
    carry_out(some, run, output, form, f"peftbench report{output.typed()}")
