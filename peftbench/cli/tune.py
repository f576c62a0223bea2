"""`peftbench tune`: few-shot fine-tuning."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from typer import Option

from peftbench.cli.options import (
    SHOTS,
    KeepFolder,
    OutputOptions,
    RunOptions,
    ScoringOptions,
    Table,
    TaskOptions,
    WeightOptions,
    assignments,
    check_tuned,
)

MODEL = "mini-t0"


def tune(
    *,
    method: Annotated[
        str, Option(help="What is trained, or a classifier of embeddings: `peftbench list methods`.", metavar="NAME")
    ],
    model: Annotated[str, Option(help="Name of `list models`, folder, GGUF file or hub id.", metavar="NAME")] = MODEL,
    shots: Annotated[
        str | None,
        Option(
            help=f"Labelled examples to train on: a number, or all. \\[default: {SHOTS}, or all of --shots-from]",
            metavar="K",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="A field of the method or of its training: rank=8, lr=1e-3."),
    ] = None,
    start_from: Annotated[
        Path | None,
        Option(
            help="Start from a saved adapter: a folder under results/adapters, one of the peft library's, or T-Few's "
            ".pt.",
            metavar="ADAPTER",
        ),
    ] = None,
    transfer_to: Annotated[
        str | None,
        Option(
            help="Other tasks that what is tuned on --task answers, too: names, a group, task TOMLs.",
            metavar="NAME,NAME",
        ),
    ] = None,
    sweep: Annotated[
        Literal["lr"] | None,
        Option(help="Choose the learning rate by cross-validation on the shots: 10 times the training."),
    ] = None,
    select: Annotated[
        Literal["random", "balanced", "kmeans"],
        Option(help="Which rows are labelled and tuned on: the same as --draw, random being its default."),
    ] = "random",
    embedder: Annotated[
        Path | None,
        Option(
            help="Of a classifier: read texts by a sentence model, a folder of sentence-transformers, in place of the "
            "model.",
            metavar="DIR",
        ),
    ] = None,
    task: TaskOptions,
    scoring: ScoringOptions,
    weights: WeightOptions,
    run: RunOptions,
    output: OutputOptions,
    keep: KeepFolder = None,
    form: Table = "table",
) -> None:
    """Evaluate few-shot tuning, beside the same model's zero-shot.

    pet trains a model that fills masks once and again for each template, and averages the answers of all of them.

    A classifier of embeddings (knn, logistic_regression) tunes nothing of the model: it is what tuning should beat.
    With one, --model may be a sentence model's folder; setfit trains it.

    On the group lab-train one adapter is tuned, on the mixture of its tasks: one to start from.
    """
    from peftbench import registry
    from peftbench.cli import kept
    from peftbench.cli.cells import carry_out, requested_cells, transfer_targets
    from peftbench.models import source
    from peftbench.spec.cell import Training

    registry.known_to_tune(method)
    check_tuned(model)
    task = task if select == "random" else replace(task, draw=select)
    table = assignments(settings or []) | ({} if embedder is None else {"embedder": str(embedder)})
    training = {name: value for name, value in table.items() if name in Training.model_fields}
    config = {name: value for name, value in table.items() if name not in training}
    shared: dict[str, Any] = {"model": model, "scoring": scoring.table()}
    tuning: dict[str, Any] = {
        "shots": task.num_shots(shots),
        "method": method,
        "method_config": config,
        "training": training,
    }
    tuning |= {"start_from": start_from, "sweep": sweep}
    if keep is not None:
        cells = requested_cells(task, weights, run, learner="tune", as_mixture=True, **tuning | {"shots": 1}, **shared)
        kept.keep(cells, keep, threads=run.threads, quiet=output.quiet)
        return
    targets = [] if transfer_to is None else transfer_targets(task, transfer_to)
    shared |= {"targets": targets, "as_mixture": True}
    cells = requested_cells(task, weights, run, learner="tune", **tuning, **shared)
    reads_only = registry.is_classifier(method) and source.is_sentence_model(model)  # which answers no prompt
    if not reads_only and scoring.answer != "head":  # a layer that answers nothing before it is trained
        cells = [*requested_cells(task, weights, run, learner="icl", shots=0, **shared), *cells]
    carry_out(cells, run, output, form, f"peftbench report{output.typed()}")
