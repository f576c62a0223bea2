"""`peftbench cost`: FLOPs, bytes and break-even points from a model's shapes, without its weights."""

import json
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer import Option

from peftbench.cli.options import FLAG, Table, assignments, numbers

MODEL = "t0-11b"
MODELS, QUERIES, TUNING, CHECKS = "Models and methods", "Queries", "Tuning", "Checked and measured"


@dataclass(frozen=True)
class WorkOptions:
    """The queries that a model answers, and how it is tuned for them."""

    shots: Annotated[int, Option(help="Examples in a prompt.", metavar="K", rich_help_panel=QUERIES)] = 32
    tokens_per_shot: Annotated[
        int, Option(help="Tokens of an example, its answer included.", metavar="N", rich_help_panel=QUERIES)
    ] = 98
    query_tokens: Annotated[
        int, Option(help="Tokens of a query with all its answer choices.", metavar="N", rich_help_panel=QUERIES)
    ] = 103
    choice_tokens: Annotated[
        str, Option(help="How many of these each choice has: 2,2.", metavar="N,N", rich_help_panel=QUERIES)
    ] = "2,2"
    queries: Annotated[
        int | None, Option(help="Show what so many queries cost in all.", min=1, metavar="N", rich_help_panel=QUERIES)
    ] = None
    num_steps: Annotated[int, Option(help="Steps of training.", metavar="N", rich_help_panel=TUNING)] = 1000
    batch_size: Annotated[int, Option(help="Examples per step.", metavar="N", rich_help_panel=TUNING)] = 8
    optimizer: Annotated[
        Literal["adafactor", "adamw"], Option(help="Whose state is held in memory.", rich_help_panel=TUNING)
    ] = "adafactor"
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Option(help="Of weights, activations, cached keys and values.", rich_help_panel=QUERIES),
    ] = "float32"

    def table(self) -> dict[str, Any]:
        """Collect the fields of `costs.of_model.Workload`."""
        table = {name: value for name, value in vars(self).items() if name != "queries"}
        return table | {"choice_tokens": tuple(numbers(self.choice_tokens, "choice-tokens"))}


def cost(
    *,
    model: Annotated[
        list[str],
        Option(
            help="Published shape (t0-11b, gpt3-175b, ...), embedded name, folder, config.json or hub id; repeatable.",
            metavar="NAME",
            rich_help_panel=MODELS,
        ),
    ] = [MODEL],  # noqa: B006
    method: Annotated[
        list[str] | None,
        Option(help="Method; repeatable. \\[default: all]", metavar="NAME", rich_help_panel=MODELS),
    ] = None,
    settings: Annotated[
        list[str] | None,
        Option(
            "--set", help="Setting of the one method: rank=8; repeatable.", metavar="KEY=VALUE", rich_help_panel=MODELS
        ),
    ] = None,
    work: WorkOptions,
    audit: Annotated[
        str | None, Option(help="Check a paper's own numbers: t-few.", metavar="PAPER", rich_help_panel=CHECKS)
    ] = None,
    measure: Annotated[
        bool,
        Option(
            "--measure",
            help="Run the models too, and time them here; needs weights.",
            metavar=FLAG,
            rich_help_panel=CHECKS,
        ),
    ] = False,
    device: Annotated[
        str, Option(help="Where to measure: auto, cpu, cuda, ...", metavar="NAME", rich_help_panel=CHECKS)
    ] = "auto",
    form: Table = "table",
) -> None:
    """Count FLOPs, bytes and break-even points from a model's shapes; no weights, no download, any size."""
    from peftbench.cli import check_text, cost_text
    from peftbench.cli.progress import watch
    from peftbench.cli.screen import say_next, stdout
    from peftbench.costs.audit import audit as check
    from peftbench.costs.describe import describe
    from peftbench.costs.of_model import Workload, model_costs
    from peftbench.errors import CostError
    from peftbench.registry import known

    if audit is not None:
        known(audit, ["t-few"], "audit", CostError)
        checks = check()
        data = check_text.audit_data(checks)
        typer.echo(
            json.dumps(data, indent=2) + "\n" if form == "json" else check_text.audit_text(checks, stdout()), nl=False
        )
        return
    workload = Workload(**work.table())
    models = [describe(name) for name in dict.fromkeys(model)]
    with watch(quiet=False).waiting("loading torch"):
        configs = _configs(method, settings)
    bare = next((described for described in models if not described.has_weights), None)
    if measure and bare is not None:
        raise CostError(
            f"'{bare.name}' is known by its shapes only and cannot be measured",
            hint="--measure takes an embedded model or a folder with weights",
        )
    costs = [model_costs(described, workload, configs, strict=method is not None) for described in models]
    timings = []
    if measure:
        from peftbench.costs.timed_model import time_model

        total = sum(not strategy.is_tuned for each in costs for strategy in each.strategies)
        with watch(quiet=False).stage("measuring", total + len(models) * len(configs)) as advance:
            for described in models:
                timings.append(time_model(described.name, workload, configs, device, partial(advance, 1)))
    if form == "json":
        typer.echo(json.dumps(cost_text.data(costs, workload, work.queries, timings), indent=2))
        return
    typer.echo(cost_text.text(costs, workload, work.queries, timings, stdout()), nl=False)
    say_next(watch(quiet=False), _step(model[0], next(iter(configs)), settings or []))


def _step(model: str, method: str, settings: list[str]) -> str:
    """Name the command that finds out what the costs buy; of bare shapes, the one that checks the counts."""
    from peftbench.registry import embedded_models

    if model in embedded_models() or Path(model).is_dir():
        given = "".join(f" --set {shlex.quote(setting)}" for setting in settings)
        return f"peftbench tune --model {shlex.quote(model)} --method {method}{given}"
    return "peftbench cost --audit t-few"


def _configs(names: list[str] | None, settings: list[str] | None) -> dict[str, Any]:
    """Give the settings of the methods: those named, or all with their defaults.

    Raises:
        MethodError: An unknown method or setting, or settings without a method that they belong to.
    """
    from peftbench import registry
    from peftbench.errors import MethodError
    from peftbench.spec.settings import checked

    table = assignments(settings or [])
    chosen = list(dict.fromkeys(names or registry.METHODS))
    if table and len(chosen) != 1:
        raise MethodError("--set belongs to one method", hint="for example --method lora --set rank=8")
    configs = {}
    for name in chosen:
        schema = registry.method(name).Config
        for key in table:
            registry.known(key, schema.model_fields, f"setting of {name}", MethodError)
        configs[name] = checked(schema, table, f"method '{name}'", MethodError)
    return configs
