"""The lines of `peftbench list`."""

import ast
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

from peftbench import registry
from peftbench.cli.list import Listing
from peftbench.models import weights
from peftbench.spec.recipe import read, shipped


def methods() -> Listing:
    """Read each method's docstring and paper from its source."""
    lines = []
    for name, module in registry.METHODS.items():
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
            "groups": ", ".join(["lab"] * info.default + ([info.group] if info.group else [])),
            "family": info.family,
            "chance": info.chance,
            "num_templates": info.num_templates,
            "num_train": info.num_train,
            "num_test": info.num_test,
            "description": info.description,
        }
        for info in sorted(catalogue(), key=lambda info: (info.group or "", info.name))
    ]
    remark = (
        f"Groups for --task: {'; '.join(f'{name}, {what}' for name, what in registry.TASK_GROUPS.items())}. "
        "A task without row counts takes its rows from the hub, or from --train FILE --test FILE. "
        "Rows of your own need --template and --choices besides."
    )
    return Listing(lines, "peftbench lab show lab-nli2", remark, hidden=frozenset({"description"}))


def models() -> Listing:
    """List the embedded models, by their configs and the heads of their weight files, and all model families."""
    lines = [_model(name, folder) for name, folder in registry.embedded_models().items()]
    remark = (
        "--model also takes a local folder in the Hugging Face layout, or a hub id, of these families. On each of them "
        "all methods of `peftbench list methods` are defined."
    )
    return Listing(lines, "peftbench icl --model mini-gpt --shots 32", remark, beside=_families())


def recipes() -> Listing:
    """List the recipes that come along."""
    lines = [{"recipe": name, "what it makes": read(path).description} for name, path in shipped().items()]
    return Listing(lines, "peftbench run table1")


def _families() -> list[dict[str, Any]]:
    """Read each family's docstring, and what is not defined on it, from its source."""
    lines = []
    for module in dict.fromkeys(registry.FAMILIES.values()):
        tree = _source(module)
        undefined = ast.literal_eval(_constant(tree, "UNDEFINED") or "{}")
        lines.append(
            {
                "family": (ast.get_docstring(tree) or "").partition(":")[0],
                "model_type": ", ".join(name for name, where in registry.FAMILIES.items() if where == module),
                "not defined": "; ".join(f"{what} ({why})" for what, why in undefined.items()) or None,
            }
        )
    return lines


def _source(module: str) -> ast.Module:
    """Parse a module of the package, as importing it would import torch."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, module
    assert spec.origin is not None, module
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _model(name: str, folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    files = sorted(folder.glob("*.safetensors"))
    layers = next(config[key] for key in ("num_layers", "num_hidden_layers", "n_layer") if key in config)
    width = next(config[key] for key in ("d_model", "hidden_size", "n_embd") if key in config)
    return {
        "model": name,
        "family": config["model_type"],
        "kind": "encoder-decoder" if config.get("is_encoder_decoder") else "decoder-only",
        "num_parameters": sum(_num_parameters(file) for file in files),
        "num_layers": layers,
        "d_model": width,
        "disk_bytes": sum(file.stat().st_size for file in files),
    }


def _num_parameters(path: Path) -> int:
    """Count from a safetensors file's header."""
    return sum(math.prod(tensor["shape"]) for tensor in weights.header(path).values())


def _constant(tree: ast.Module, name: str) -> str:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            return str(ast.literal_eval(node.value))
    return ""
