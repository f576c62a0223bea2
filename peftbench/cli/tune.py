"""`peftbench tune`: few-shot fine-tuning."""

from typing import Annotated

from typer import Option

from peftbench.cli.options import OutputOptions, RunOptions, ScoringOptions, Table, TaskOptions, assignments

MODEL = "mini-t0"


def tune(
    task: TaskOptions,
    scoring: ScoringOptions,
    run: RunOptions,
    output: OutputOptions,
    method: Annotated[str, Option(help="What is trained; see `peftbench list methods`.")],
    model: Annotated[str, Option(help="Embedded name, local folder or hub id.")] = MODEL,
    shots: Annotated[int, Option(help="Labelled examples to train on.", min=1)] = 32,
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
    some = [
        *cells(task, run, learner="icl", shots=0, **shared),
        *cells(
            task, run, learner="tune", shots=shots, method=method, method_config=config, training=training, **shared
        ),
    ]
    carry_out(some, run, output, form, f"peftbench report{output.typed()}")
