"""`peftbench list`: methods, tasks, models and recipes, listed without importing torch or reading weights."""

import ast
import importlib.util
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument

from peftbench import registry
from peftbench.cli.options import Table

Line = dict[str, Any]
"""Title -> value of what is listed."""


class Kind(StrEnum):
    """A kind of thing to list."""

    methods = "methods"
    tasks = "tasks"
    models = "models"
    recipes = "recipes"


@dataclass(frozen=True)
class Listing:
    """Lines with equal fields, and the texts around them.

    Args:
        lines: What is listed.
        step: A command that uses one of the lines.
        remark: Shown below the lines.
        hidden: Fields that only --format json shows.
        families: Lines of another kind, which the remark introduces.
    """

    lines: Sequence[Line]
    step: str
    remark: str = ""
    hidden: frozenset[str] = frozenset()
    families: Sequence[Line] = ()


def show_list(kind: Annotated[Kind, Argument(help="What to list.", metavar="KIND")], form: Table = "table") -> None:
    """List methods, tasks, models or recipes."""
    from peftbench.cli.progress import watch
    from peftbench.cli.screen import say_next

    listing = LISTINGS[kind]()
    if form == "json":
        typer.echo(json.dumps([*listing.lines, *listing.families], indent=2))
        return
    typer.echo(_drawn(listing), nl=False)
    say_next(watch(quiet=False), listing.step)


# -- what there is -----------------------------------------------------------------------------------------------------


def methods() -> Listing:
    """Read each method's docstring and paper from its source."""
    lines = []
    for name, module in (registry.METHODS | registry.ENSEMBLES | registry.CLASSIFIERS).items():
        tree = _source(module)
        about = (ast.get_docstring(tree) or "").partition("\n")[0]
        lines.append({"method": name, "paper": _constant(tree, "PAPER"), "what it does": about})
    remark = "--method peft:NAME takes the peft library's methods that act on layers, such as peft:VERA and peft:OFT."
    return Listing(lines, "peftbench tune --method ia3", remark)


def tasks() -> Listing:
    """List the tasks that come along; rows of hub data are not known before they are loaded."""
    from peftbench.tasks.load import catalogue

    lines = [
        {
            "task": info.name,
            "groups": ", ".join(name for name in ("lab" if info.default else None, info.group) if name),
            "family": info.family,
            "metric": info.metric,
            "chance": info.chance,
            "num_templates": info.num_templates,
            "num_train": info.num_train,
            "num_test": info.num_test,
            "description": info.description,
        }
        for info in sorted(catalogue(), key=lambda info: (info.group or "", info.name))
    ]
    remark = (
        f"Groups for --task: {'; '.join(f'{name}, {about}' for name, about in registry.TASK_GROUPS.items())}. "
        "A task without row counts takes its rows from the hub, from --data DIR, or from --train FILE --test FILE. "
        "Rows of your own need --template and --choices besides."
    )
    return Listing(lines, "peftbench show lab-nli2", remark, hidden=frozenset({"description"}))


def models() -> Listing:
    """List the models that go by a name, by their configs and the heads of weight files, and all model families."""
    from peftbench.models.gguf.config import ARCHITECTURES

    lines = [_embedded(name, folder) for name, folder in registry.embedded_models().items()]
    lines += [_packaged(packaged) for packaged in registry.PACKAGED.values()]
    lines += [_sentence_model(packaged) for packaged in registry.SENTENCE_MODELS.values()]
    remark = (
        "--model also takes a local folder in the Hugging Face layout, or a hub id, of these families; and a GGUF file "
        f"of {', '.join(ARCHITECTURES)}. On each of them all methods of `peftbench list methods` are defined."
    )
    return Listing(lines, "peftbench icl --model mini-gpt --shots 32", remark, families=_families())


def recipes() -> Listing:
    """List the recipes that come along."""
    from peftbench.spec.recipe import read, shipped

    lines = [{"recipe": name, "what it makes": read(path).description} for name, path in shipped().items()]
    return Listing(lines, "peftbench run table1")


LISTINGS: dict[Kind, Callable[[], Listing]] = {
    Kind.methods: methods,
    Kind.tasks: tasks,
    Kind.models: models,
    Kind.recipes: recipes,
}


def _families() -> list[Line]:
    """Read each family's docstring, and what is not defined on it, from its source."""
    lines = []
    for module in dict.fromkeys(registry.FAMILIES.values()):
        tree = _source(module)
        undefined = ast.literal_eval(_constant(tree, "UNDEFINED") or "{}")
        lines.append(
            {
                "family": (ast.get_docstring(tree) or "").partition(":")[0],
                "model_type": ", ".join(name for name, file in registry.FAMILIES.items() if file == module),
                "not defined": "; ".join(f"{feature} ({reason})" for feature, reason in undefined.items()) or None,
            }
        )
    return lines


def _embedded(name: str, folder: Path) -> Line:
    files = sorted(folder.glob("*.safetensors"))
    num_parameters, disk_bytes = sum(map(_num_parameters, files)), sum(file.stat().st_size for file in files)
    return _model(name, folder, num_parameters, disk_bytes, "comes along")


def _packaged(packaged: registry.Packaged) -> Line:
    """Describe a model of another package, installed or not; its file is hashed only where it is loaded."""
    return _model(packaged.name, packaged.folder, packaged.num_parameters, packaged.disk_bytes, _source_of(packaged))


def _sentence_model(packaged: registry.Packaged) -> Line:
    """Describe a sentence model of another package, whose config is there where it is installed."""
    return {
        "model": packaged.name,
        "family": "bert",
        "kind": "sentence model",
        "num_parameters": packaged.num_parameters,
        "num_layers": 6,
        "d_model": 384,
        "disk_bytes": packaged.disk_bytes,
        "source": _source_of(packaged),
    }


def _source_of(packaged: registry.Packaged) -> str:
    path = packaged.path()
    return "installed" if path is not None and path.stat().st_size == packaged.disk_bytes else packaged.command


def _kind(config: Line) -> str:
    if any(name.endswith("ForMaskedLM") for name in config.get("architectures", ())):
        return "encoder-only"
    return "encoder-decoder" if config.get("is_encoder_decoder") else "decoder-only"


def _model(name: str, folder: Path, num_parameters: int, disk_bytes: int, source: str) -> Line:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layers = next(config[key] for key in ("num_layers", "num_hidden_layers", "n_layer") if key in config)
    width = next(config[key] for key in ("d_model", "hidden_size", "n_embd") if key in config)
    return {
        "model": name,
        "family": config["model_type"],
        "kind": _kind(config),
        "num_parameters": num_parameters,
        "num_layers": layers,
        "d_model": width,
        "disk_bytes": disk_bytes,
        "source": source,
    }


def _num_parameters(path: Path) -> int:
    """Count the parameters in a safetensors file's header."""
    from peftbench.models import weights

    return sum(math.prod(tensor["shape"]) for tensor in weights.header(path).values())


def _source(module: str) -> ast.Module:
    """Parse a module of the package without importing it, which would import torch."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _constant(tree: ast.Module, name: str) -> str:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            return str(ast.literal_eval(node.value))
    return ""


# -- how it is drawn ---------------------------------------------------------------------------------------------------


def _drawn(listing: Listing) -> str:
    from peftbench.cli.screen import stdout
    from peftbench.report.formats.drawing import draw

    lines = [{name: value for name, value in line.items() if name not in listing.hidden} for line in listing.lines]
    pieces: list[Any] = [_grid(lines) if lines else "none"]
    if listing.remark:
        pieces += ["", listing.remark]
    if listing.families:
        pieces += ["", _grid(listing.families)]
    return draw(stdout(), pieces)


def _grid(lines: Sequence[Line]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for name, value in lines[0].items():
        header = name.removeprefix("num_").removesuffix("_bytes")
        grid.add_column(header, justify="left" if isinstance(value, str) else "right", overflow="fold")
    for line in lines:
        grid.add_row(*(Text(_text(name, value)) for name, value in line.items()))
    return grid


def _text(name: str, value: Any) -> str:
    from peftbench.report.rows import units

    if value is None:
        return "-"
    forms: dict[str, Callable[[Any], str]] = {
        "num_parameters": units.number,
        "disk_bytes": units.size,
        "chance": units.percent,
    }
    return forms.get(name, str)(value)
