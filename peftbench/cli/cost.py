"""`peftbench cost`: FLOPs, bytes and break-even points from a model's shapes, without its weights."""

import json
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer import Argument, Option

from peftbench.cli import cost_memory
from peftbench.cli.cost_memory import MemoryOptions
from peftbench.cli.options import FLAG, RESULTS, Format, PriceSource, Table, assignments, numbers

if TYPE_CHECKING:
    from peftbench.costs.of_model import ModelCosts, Workload
    from peftbench.costs.timed_model import Measured
    from peftbench.costs.verify import Verification

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


@dataclass(frozen=True)
class CheckOptions:
    """What is checked or measured beside the counts."""

    audit: Annotated[
        str | None, Option(help="Check a paper's own numbers: t-few.", metavar="PAPER", rich_help_panel=CHECKS)
    ] = None
    verify: Annotated[
        bool,
        Option(
            "--verify",
            help="Trace RECORD's model and method, or those named, and compare the counts; exit code 1 if they differ.",
            metavar=FLAG,
            rich_help_panel=CHECKS,
        ),
    ] = False
    results: Annotated[
        Path, Option(help="Folder of the records, where RECORD is an id.", metavar="DIR", rich_help_panel=CHECKS)
    ] = RESULTS
    measure: Annotated[
        bool,
        Option(
            "--measure",
            help="Run the models too, and time them here; needs weights.",
            metavar=FLAG,
            rich_help_panel=CHECKS,
        ),
    ] = False
    device: Annotated[
        str, Option(help="Where to measure: auto, cpu, cuda, ...", metavar="NAME", rich_help_panel=CHECKS)
    ] = "auto"


def cost(
    record: Annotated[
        str | None, Argument(help="With --verify: a record's id, or its file.", metavar="RECORD", show_default=False)
    ] = None,
    *,
    model: Annotated[
        list[str] | None,
        Option(
            help="Published shape (t0-11b, ...), listed name, folder, config.json, GGUF file or hub id; repeatable. "
            f"\\[default: {MODEL}]",
            metavar="NAME",
            rich_help_panel=MODELS,
        ),
    ] = None,
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
    prices: PriceSource = None,
    work: WorkOptions,
    memory: MemoryOptions,
    checks: CheckOptions,
    form: Table = "table",
) -> None:
    """Count FLOPs, bytes and break-even points from a model's shapes; no weights, no download, any size."""
    from peftbench.errors import CostError

    if record is not None and not (checks.verify and method is None and settings is None and model is None):
        hint = "peftbench cost --verify RECORD, without --model, --method and --set"
        raise CostError(f"record '{record}' can be verified, with the model and the method that it names", hint=hint)
    if prices is not None and (checks.audit is not None or checks.verify):
        raise CostError("--prices is of what is counted, and --audit and --verify check that", hint="either of the two")
    if memory.is_on:
        _memory(memory, model, method, settings, work, checks, prices, form)
    elif checks.audit is not None:
        _audit(checks.audit, form)
    elif record is not None:
        _verify_record(record, checks.results, form)
    elif checks.verify:
        _verify(model or [MODEL], method, settings, work, form)
    else:
        _count(model or [MODEL], method, settings, work, checks, prices, form)


def _memory(
    options: MemoryOptions,
    names: list[str] | None,
    methods: list[str] | None,
    settings: list[str] | None,
    work: WorkOptions,
    checks: CheckOptions,
    prices: str | None,
    form: Format,
) -> None:
    from peftbench.cli.progress import loading, watch
    from peftbench.costs.of_model import Workload
    from peftbench.errors import CostError

    if prices is not None or checks.audit is not None or checks.verify or checks.measure:
        other = "--prices, --audit, --verify and --measure show other things than --memory and --fit"
        raise CostError(other, hint="one command for each")
    workload = Workload(**work.table())
    with loading(watch(quiet=False)):
        configs = _configs(methods or list(cost_memory.METHODS), settings)
    default = [MODEL] if options.fit is None else []
    cost_memory.show(options, names or default, workload, configs, form, strict=methods is not None)


def _count(
    names: list[str],
    methods: list[str] | None,
    settings: list[str] | None,
    work: WorkOptions,
    checks: CheckOptions,
    prices: str | None,
    form: Format,
) -> None:
    from peftbench.cli import cost_text
    from peftbench.cli.progress import loading, watch
    from peftbench.cli.screen import say_next, stdout
    from peftbench.costs.describe import describe
    from peftbench.costs.of_model import Workload, model_costs
    from peftbench.costs.prices.read import read as read_prices
    from peftbench.errors import CostError

    workload = Workload(**work.table())
    priced = None if prices is None else read_prices(prices, work.queries)
    models = [describe(name) for name in dict.fromkeys(names)]
    bare = next((model for model in models if not model.has_weights), None)
    if checks.measure and bare is not None:
        raise CostError(
            f"'{bare.name}' is known by its shapes only and cannot be measured",
            hint="--measure takes a model of `peftbench list models`, a folder with weights or a GGUF file",
        )
    with loading(watch(quiet=False)):
        configs = _configs(methods, settings)
    costs = [model_costs(model, workload, configs, strict=methods is not None) for model in models]
    timings = _timings(costs, workload, configs, checks.device) if checks.measure else []
    if form == "json":
        typer.echo(json.dumps(cost_text.data(costs, workload, work.queries, timings, priced), indent=2))
        return
    typer.echo(cost_text.text(costs, workload, work.queries, timings, stdout(), priced), nl=False)
    say_next(watch(quiet=False), _step(names[0], next(iter(configs)), settings or []))


def _timings(
    costs: "Sequence[ModelCosts]", workload: "Workload", configs: dict[str, Any], device: str
) -> "list[list[Measured]]":
    """Measure each model, a step of the bar for each strategy."""
    from peftbench.cli.progress import watch
    from peftbench.costs.timed_model import time_model

    prompted = sum(not strategy.is_tuned for model in costs for strategy in model.strategies)
    with watch(quiet=False).stage("measuring", prompted + len(costs) * len(configs)) as advance:
        began = partial(advance, 1)
        return [time_model(model.model.name, workload, configs, device, began) for model in costs]


def _audit(paper: str, form: Format) -> None:
    from peftbench.cli import check_text
    from peftbench.cli.screen import stdout
    from peftbench.costs.audit import audit
    from peftbench.errors import CostError
    from peftbench.registry import known

    known(paper, ["t-few"], "audit", CostError)
    checks = audit()
    data = json.dumps(check_text.audit_data(checks), indent=2) + "\n" if form == "json" else ""
    typer.echo(data or check_text.audit_text(checks, stdout()), nl=False)


def _verify(
    names: list[str], methods: list[str] | None, settings: list[str] | None, work: WorkOptions, form: Format
) -> None:
    from peftbench.costs.describe import describe
    from peftbench.costs.of_model import Workload

    workload = Workload(**work.table())
    models = [describe(name) for name in dict.fromkeys(names)]
    configs: dict[str | None, Any] = {None: None}
    if methods or settings:
        configs = dict(_configs(methods, settings).items())
    with _tracing():
        from peftbench.costs.verify import verify

        lines = [
            line
            for model in models
            for method, config in configs.items()
            for line in verify(model, workload.query(model.shape.sizes), method, config)
        ]
    _show(lines, form)


def _verify_record(name: str, results: Path, form: Format) -> None:
    """Verify a record by its id in the results folder, or by its file.

    Raises:
        CostError: The counts do not fit the record's model.
        RecordError: There is no such record, or it is damaged.
    """
    from peftbench.errors import RecordError
    from peftbench.store.results import Store

    path = Path(name)
    is_file = path.suffix == ".json"
    root = path.absolute().parents[1] if is_file else results
    record = Store(root).find(path.stem if is_file else name)
    if record is None:
        hint = "an id that `peftbench report --format json` lists, or a file results/records/ID.json"
        raise RecordError(f"there is no record '{name}'" + ("" if is_file else f" in '{results}'"), hint=hint)
    with _tracing():
        from peftbench.costs.verify import verify_record

        lines = verify_record(record)
    _show(lines, form)


def _tracing() -> AbstractContextManager[object]:
    from peftbench.cli.progress import watch

    return watch(quiet=False).waiting("tracing")


def _show(lines: "Sequence[Verification]", form: Format) -> None:
    """Show what was counted and traced; the exit code says whether it is the same."""
    from peftbench.cli import check_text
    from peftbench.cli.screen import stdout

    data = json.dumps(check_text.verified_data(lines), indent=2) + "\n" if form == "json" else ""
    typer.echo(data or check_text.verified_text(lines, stdout()), nl=False)
    if not all(line.agrees for line in lines):
        raise typer.Exit(1)


def _step(model: str, method: str, settings: list[str]) -> str:
    """Name the command that finds out what the costs buy; of bare shapes, the one that checks the counts."""
    from peftbench.registry import PACKAGED, embedded_models

    if model in (*embedded_models(), *PACKAGED) or Path(model).is_dir() or model.lower().endswith(".gguf"):
        options = "".join(f" --set {shlex.quote(setting)}" for setting in settings)
        return f"peftbench tune --model {shlex.quote(model)} --method {method}{options}"
    return "peftbench cost --audit t-few"


def _configs(names: list[str] | None, settings: list[str] | None) -> dict[str, Any]:
    """Check the settings of the methods: those named, or all with their defaults.

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
