"""Options that commands share: each is written once, means the same everywhere, and reaches a command as one object."""

import functools
import inspect
import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from typer import Option
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo

from peftbench.errors import RecipeError
from peftbench.spec import limits, values
from peftbench.store.place import named

TASK = "lab"
SHOTS = 32
ALL: Literal["all"] = "all"
"""As many shots as there are training rows."""
RESULTS = Path("results")
NAMES = ("adapter", "device_map", "model", "prices", "recipes", "task")
"""Options and arguments that are texts, and yet names of files where they are no other names."""
WRITTEN = ("out", "output")
"""Files that commands write; `export`'s OUT is a folder, and says so itself."""
NUM_DIGITS = 10
MAX_SHOWN = 60
# Without it a flag looks as if it took a value: "--quiet <bool>".
FLAG = ""
DATA, RUNNING, SCORING, OUTPUT = "Task and data", "Running", "Prompts and scoring", "Output"
SERVER = "Served models"
SERVED = "served:"
"""What the names of served models begin with."""
OF_SERVER = ("tokenizer", "config", "dialect", "concurrency", "key_variable")

Format = Literal["table", "json"]
Table = Annotated[Format, Option("--format", help="table, or json as one document.", rich_help_panel=OUTPUT)]

PriceSource = Annotated[
    str | None,
    Option(
        help="Show money, too, by these prices: a TOML of your own (docs/money.md), or genai:MODEL.",
        metavar="FILE",
    ),
]

DataFolder = Annotated[
    Path | None,
    Option(
        help="Rows in place of the hub's: DIR/TASK/{train,test}.{jsonl,csv,tsv,parquet}.",
        metavar="DIR",
        envvar="PEFTBENCH_DATA",
        rich_help_panel=DATA,
    ),
]


KeepFolder = Annotated[
    Path | None,
    Option(
        help="Test nothing: learn each task once from all of its labelled rows, into DIR/TASK, which `predict` and "
        "`submit` take.",
        metavar="DIR",
        rich_help_panel=OUTPUT,
    ),
]


@dataclass(frozen=True)
class TaskOptions:
    """Options that choose rows and templates."""

    task: Annotated[
        str | None,
        Option(
            help=f"Task, group, task TOML or YAML: `peftbench list tasks`. \\[default: {TASK}]",
            metavar="NAME",
            rich_help_panel=DATA,
        ),
    ] = None
    data: DataFolder = None
    train: Annotated[
        Path | None, Option(help="Training rows: CSV, JSONL or Parquet.", metavar="FILE", rich_help_panel=DATA)
    ] = None
    shots_from: Annotated[
        Path | None,
        Option(
            help="Training rows that are the shots as they stand: all, or the first --shots; a seed only orders them.",
            metavar="FILE",
            rich_help_panel=DATA,
        ),
    ] = None
    test: Annotated[
        Path | None, Option(help="Test rows: CSV, JSONL or Parquet.", metavar="FILE", rich_help_panel=DATA)
    ] = None
    template: Annotated[
        str | None,
        Option(
            help='Jinja template for own rows, input ||| answer: "{{text}} Sentiment: ||| {{label}}".',
            metavar="TEXT",
            rich_help_panel=DATA,
        ),
    ] = None
    choices: Annotated[
        str | None,
        Option(
            help='Answer choices for --template, one for each class: "negative,positive".',
            metavar="A,B",
            rich_help_panel=DATA,
        ),
    ] = None
    templates: Annotated[
        str, Option(help="Templates to use, by number: 0,2; or all.", metavar="N,N", rich_help_panel=DATA)
    ] = "all"
    seeds: Annotated[
        str,
        Option(
            help="Seeds; each draws its own shots, and splits its own folds: 0,1,2.",
            metavar="N,N",
            rich_help_panel=DATA,
        ),
    ] = "0"
    folds: Annotated[
        int | None,
        Option(
            help="Without test rows: split the training rows in K; what is learned from the others tests each part.",
            metavar="K",
            min=2,
            max=limits.MAX_FOLDS,
            rich_help_panel=DATA,
        ),
    ] = None
    group: Annotated[
        str | None,
        Option(
            help="With --folds: rows of one value in this column stand in one fold, as rows of one text do.",
            metavar="COLUMN",
            rich_help_panel=DATA,
        ),
    ] = None
    limit: Annotated[
        int | None, Option(help="Use the first N test rows only.", metavar="N", min=1, rich_help_panel=DATA)
    ] = None
    draw: Annotated[
        Literal["plain", "balanced", "kmeans"],
        Option(
            help="Draw shots by chance; or as many of each label, which then stand in strict rotation: a seed decides "
            "which label comes last, in all prompts; or, by k-means, rows that stand for groups of like rows.",
            rich_help_panel=DATA,
        ),
    ] = "plain"

    def typed(self) -> str:
        """Write the options as they are typed, without those that have their default."""
        return typed(self)

    def num_shots(self, typed: str | None) -> int | Literal["all"]:
        """Return the number of shots: where none is typed, the default, or that of the rows of --shots-from.

        Raises:
            RecipeError: Neither a number nor "all"; no shots, of a file of shots.
            TaskError: That file cannot be read.
        """
        num_typed = None if typed is None or typed == ALL else _count(typed)
        if num_typed == 0 and self.shots_from is not None:
            message = f"--shots 0 takes none of the rows of --shots-from '{self.shots_from}'"
            raise RecipeError(message, hint="without --shots all of them are the shots; zero-shot needs no file")
        if num_typed is None and self.shots_from is not None:
            from peftbench.tasks import rows

            return rows.count(self.shots_from)
        return ALL if typed == ALL else SHOTS if num_typed is None else num_typed


@dataclass(frozen=True)
class WeightOptions:
    """Options that choose weights; a recipe has fields for them."""

    revision: Annotated[
        str | None, Option(help="Branch, tag or commit of a hub model.", metavar="NAME", rich_help_panel=RUNNING)
    ] = None
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], Option(help="Precision of the backbone.", rich_help_panel=RUNNING)
    ] = "float32"
    load: Annotated[
        Literal["4bit", "8bit"] | None,
        Option(
            help="Pack a decoder-only model's weights, for methods that only add: QLoRA; docs/large-models.md.",
            rich_help_panel=RUNNING,
        ),
    ] = None

    def table(self) -> dict[str, Any]:
        """Return the fields of `spec.cell.Cell` that choose weights."""
        return {"revision": self.revision, "dtype": self.dtype, "load": self.load}


@dataclass(frozen=True)
class ServerOptions:
    """Options of a model behind a server: --model served:NAME."""

    server: Annotated[
        str | None,
        Option(
            help="With --model served:NAME: who answers; docs/served.md. \\[default: http://127.0.0.1:8080]",
            metavar="URL",
            rich_help_panel=SERVER,
        ),
    ] = None
    tokenizer: Annotated[
        str | None,
        Option(
            help="The served model's: a folder, a GGUF file, a hub id, or a name of `list models`. \\[default: NAME]",
            metavar="NAME",
            rich_help_panel=SERVER,
        ),
    ] = None
    config: Annotated[
        str | None,
        Option(
            help="Its shapes, to count FLOPs: a config.json, a folder, or a name as `cost --model` takes it.",
            metavar="NAME",
            rich_help_panel=SERVER,
        ),
    ] = None
    dialect: Annotated[
        Literal["next-token", "echo", "sglang"] | None,
        Option(help="How it is asked. \\[default: a probe finds out]", rich_help_panel=SERVER),
    ] = None
    concurrency: Annotated[
        int,
        Option(help="Requests at once.", metavar="N", min=1, max=limits.MAX_CONCURRENCY, rich_help_panel=SERVER),
    ] = 8
    key_variable: Annotated[
        str | None,
        Option(help="Environment variable that holds the server's key.", metavar="NAME", rich_help_panel=SERVER),
    ] = None

    def table(self, model: str) -> dict[str, Any] | None:
        """Return the fields of `spec.cell.Server`; None of a model that is loaded here.

        Raises:
            RecipeError: A server of a model that is loaded here.
        """
        if model.startswith(SERVED):
            url = {} if self.server is None else {"url": self.server}
            return url | {name: getattr(self, name) for name in OF_SERVER}
        typed = (item.name for item in fields(self) if getattr(self, item.name) != item.default)
        name = next(typed, None)
        if name is None:
            return None
        message = f"--{name.replace('_', '-')} goes with a served model, and --model is '{model}'"
        raise RecipeError(message, hint="--model served:NAME")

    def like(self, model: str) -> str:
        """Name a model that can be tuned: the same, or what has a served one's tokenizer."""
        return (self.tokenizer or model).removeprefix(SERVED)


def check_tuned(model: str) -> None:
    """Refuse to tune a served model.

    Raises:
        RecipeError: It is one.
    """
    if model.startswith(SERVED):
        message = f"--model {model}: a server gives no weights to tune"
        hint = f"`peftbench icl --model {model}` prompts it; tune a model that is loaded here, and compare"
        raise RecipeError(message, hint=hint)


DeviceMap = Annotated[
    str | None,
    Option(
        help="Spread the model over GPUs: auto, balanced, or a JSON file of module -> device; docs/large-models.md.",
        metavar="MAP",
        rich_help_panel=RUNNING,
    ),
]


Threads = Annotated[
    int | None,
    Option(
        help="CPU threads. \\[default: all, and one for models under 20 M parameters]",
        metavar="N",
        min=1,
        rich_help_panel=RUNNING,
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """Options of the device, and of cells that have a record."""

    device: Annotated[str, Option(help="auto, cpu, cuda, mps, ...", metavar="NAME", rich_help_panel=RUNNING)] = "auto"
    device_map: DeviceMap = None
    threads: Threads = None
    allow_pickle: Annotated[
        bool,
        Option(
            "--allow-pickle",
            help="Read .bin weights if there are no safetensors.",
            metavar=FLAG,
            rich_help_panel=RUNNING,
        ),
    ] = False
    force: Annotated[
        bool, Option("--force", help="Run again what has a record.", metavar=FLAG, rich_help_panel=RUNNING)
    ] = False
    strict: Annotated[
        bool,
        Option(
            "--strict",
            help="Refuse test rows that are among the shots or repeat another one, and labels that seem counted "
            "from 1.",
            metavar=FLAG,
            rich_help_panel=RUNNING,
        ),
    ] = False

    def where(self) -> dict[str, Any]:
        """Return the fields of `spec.cell.Cell` that say where it runs, and how weights may be read."""
        return {"device": self.device, "device_map": self.device_map, "allow_pickle": self.allow_pickle}


@dataclass(frozen=True)
class ScoringOptions:
    """Options of prompts and of scoring."""

    end: Annotated[
        Literal["eos", "separator", "none"] | None,
        Option(help="What closes an answer. \\[default: eos for encoder-decoders, else none]", rich_help_panel=SCORING),
    ] = None
    separator: Annotated[
        str,
        Option(
            help="Stands between shots, and where --end separator behind an answer; \\n is a new line.",
            metavar="TEXT",
            rich_help_panel=SCORING,
        ),
    ] = "\\n\\n"
    max_input_tokens: Annotated[
        int | None, Option(help="Cut each input to its first N tokens.", metavar="N", min=1, rich_help_panel=SCORING)
    ] = None
    no_cache: Annotated[
        bool,
        Option("--no-cache", help="Run each prompt whole: the slow reference.", metavar=FLAG, rich_help_panel=SCORING),
    ] = False
    chat: Annotated[
        bool,
        Option(
            "--chat",
            help="Write shots and query as turns of the model's chat template.",
            metavar=FLAG,
            rich_help_panel=SCORING,
        ),
    ] = False
    system: Annotated[
        str | None,
        Option(
            help="System prompt, with --chat; \\n is a new line. \\[default: the template's own]",
            metavar="TEXT",
            rich_help_panel=SCORING,
        ),
    ] = None

    answer: Annotated[
        Literal["cloze", "head"] | None,
        Option(
            help="How an encoder-only model answers: by a mask in the answer's place, or by a trained layer on its "
            "pooled state. \\[default: cloze]",
            rich_help_panel=SCORING,
        ),
    ] = None
    no_pll: Annotated[
        bool,
        Option(
            "--no-pll",
            help="Refuse answers of several tokens in a mask's place.",
            metavar=FLAG,
            rich_help_panel=SCORING,
        ),
    ] = False

    def table(self) -> dict[str, Any]:
        """Return the fields of `spec.cell.ScoringOptions`."""
        return {
            "end": self.end,
            "separator": self.separator.replace("\\n", "\n"),
            "max_input_tokens": self.max_input_tokens,
            "cache": not self.no_cache,
            "chat": self.chat,
            "system": self.system and self.system.replace("\\n", "\n"),
            "answer": self.answer,
            "pll": not self.no_pll,
        }

    def typed(self) -> str:
        """Write as typed what a comparison needs alike: that prompts are turns."""
        system = "" if self.system is None else f" --system {shlex.quote(self.system)}"
        return f" --chat{system}" if self.chat else ""


@dataclass(frozen=True)
class OutputOptions:
    """Options of the results folder and of progress."""

    results: Annotated[
        Path,
        Option(help="Folder of the records, or s3://BUCKET/DIR.", metavar="DIR", rich_help_panel=OUTPUT),
    ] = RESULTS
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="No progress, no remarks.", metavar=FLAG, rich_help_panel=OUTPUT)
    ] = False

    def typed(self) -> str:
        """Write the results folder as it is typed; empty for the default."""
        return "" if self.results == RESULTS else f" --results {shlex.quote(named(self.results))}"


def typed(options: Any) -> str:
    """Write a dataclass of options as they are typed, without those that have their default."""
    words = []
    for field in fields(options):
        value, name = getattr(options, field.name), f"--{field.name.replace('_', '-')}"
        if value == (field.default if field.default_factory is MISSING else field.default_factory()):
            continue
        words += [[name]] if value is True else [[name, str(item)] for item in _items(value)]
    return "".join(f" {shlex.join(parts)}" for parts in words)


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


class Command(TyperCommand):
    """A command whose --help takes no value, as its other flags."""

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help."""
        return _as_flag(super().get_help_option(ctx))


class Group(TyperGroup):
    """A group of commands whose --help takes no value."""

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option --help."""
        return _as_flag(super().get_help_option(ctx))


def _as_flag(option: Any) -> Any:
    if option is not None:
        option.metavar = FLAG
    return option


def flatten(command: Callable[..., None]) -> Callable[..., None]:
    """Make each field of a command's option objects an option of the command line, in the order of its parameters."""
    outer = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: parameter.annotation for name, parameter in outer.items() if is_dataclass(parameter.annotation)
    }
    options = [
        option
        for name, parameter in outer.items()
        for option in (_parameters(groups[name]) if name in groups else [parameter])
    ]

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        for option in options:
            _check(option, values[option.name])
        objects = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**values, **objects)

    flat.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    )
    flat.__annotations__ = {option.name: option.annotation for option in options}
    return flat


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]


def _check(option: inspect.Parameter, value: Any) -> None:
    """Refuse what cannot be saved or opened, whichever option it comes by.

    Raises:
        RecipeError: A text that is no UTF-8, a name that no file system holds, a number beyond the limits, or a folder
            where a file is to be written.
    """
    name = _typed_name(option)
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, int):
            _check_number(name, item)
        if isinstance(item, str | Path):
            _check_text(name, str(item), is_name=isinstance(item, Path) or option.name in NAMES)
    if option.name == "device" and value.partition(":")[0] == "meta":
        message = "device 'meta' holds no values, and nothing can be computed on it"
        raise RecipeError(message, hint="auto, cpu, cuda, cuda:0, mps")
    if option.name in WRITTEN and isinstance(value, Path) and _is_folder(value):
        raise RecipeError(f"{name} '{value}' is a folder, and a file is to be written", hint=f"{name} FILE")


def _typed_name(option: inspect.Parameter) -> str:
    """Return an option as it is typed, or an argument as help calls it."""
    (info,) = getattr(option.annotation, "__metadata__", (None,))
    if isinstance(info, ArgumentInfo):
        return str(info.metavar)
    # Typer takes the first of an annotation's names for a default, until the command is made.
    names = (getattr(info, "default", None), *(getattr(info, "param_decls", None) or ()))
    return next((name for name in names if str(name).startswith("--")), f"--{option.name.replace('_', '-')}")


def _check_text(option: str, text: str, *, is_name: bool) -> None:
    if not values.is_utf8(text):
        raise RecipeError(f"{option} {text[:MAX_SHOWN]!a} has bytes that are no UTF-8", hint="type it as UTF-8")
    longest = len(values.longest_name(text).encode())
    if is_name and longest > limits.MAX_NAME_BYTES:
        message = f"{option} '{text[:MAX_SHOWN]}...' has a name of {longest:,} bytes"
        raise RecipeError(message, hint=f"{limits.MAX_NAME_BYTES} are the most; {option} takes a name or a path")


def _check_number(option: str, number: int) -> None:
    if abs(number) > limits.MAX_NUMBER:
        raise RecipeError(f"{option} is a whole number beyond {limits.MAX_NUMBER}", hint="a smaller one")


def _count(shots: str) -> int:
    """Read a number of shots.

    Raises:
        RecipeError: It is none, or beyond the limits.
    """
    if not re.fullmatch(r"\d+", shots, re.ASCII):
        message = f"--shots '{shots[:MAX_SHOWN]}' is no number of examples"
        raise RecipeError(message, hint="a whole number, or all: as many as there are training rows")
    if len(shots) > NUM_DIGITS:
        raise RecipeError(f"--shots {shots[:MAX_SHOWN]} is beyond {limits.MAX_SHOTS:,}", hint="a smaller number")
    return int(shots)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # nothing that can be looked at; whoever opens it says more
        return False


def numbers(text: str, option: str) -> list[int]:
    """Read a list of whole numbers such as "0,1,2".

    Raises:
        RecipeError: The text is no such list, or has numbers beyond the limits.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        message = f"--{option} '{text[:MAX_SHOWN]}' is no list of whole numbers"
        raise RecipeError(message, hint=f"for example --{option} 0,1,2")
    if max(map(len, parts)) > NUM_DIGITS or max(map(int, parts)) > limits.MAX_SEED:
        raise RecipeError(f"--{option} has a number beyond {limits.MAX_SEED}", hint=f"for example --{option} 0,1,2")
    return [int(part) for part in parts]


def choices(text: str | None) -> list[str] | None:
    """Read choices such as "negative,positive"; a comma inside {{...}} belongs to Jinja and separates nothing."""
    return re.split(r",(?![^{]*}})", text) if text else None


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """Read "KEY=VALUE" pairs; a value is read as TOML, and as plain text where it is none.

    Raises:
        RecipeError: There is no "=", or a value is beyond the limits.
    """
    table = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise RecipeError(f"--set '{text[:MAX_SHOWN]}' is no KEY=VALUE", hint="for example --set rank=8")
        table[name.strip()] = _value(name.strip(), value.strip())
    return table


def _value(name: str, text: str) -> Any:
    try:
        return values.toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except ValueError as error:
        raise RecipeError(f"--set {name[:MAX_SHOWN]}: {error}", hint="for example --set rank=8") from None
