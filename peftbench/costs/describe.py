"""A model's shapes from its name: a published shape, a listed name, a folder, a file, a hub id; no weights are read.

A config.json that names every field the family reads is read as it is. Where it leaves one to its default, or is
wrong, transformers reads it, which knows the defaults and what is wrong.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peftbench import registry
from peftbench.costs import count
from peftbench.costs.published import SHAPES, Shape, num_parameters
from peftbench.errors import CostError, ModelError, PeftbenchError
from peftbench.models import foreign, source, weights
from peftbench.models.family import Family
from peftbench.models.gguf import config as gguf_config
from peftbench.models.gguf import header
from peftbench.models.shapes import Elementwise, Sizes

HEAD = "lm_head.weight"
MOST = 10**7
"""No size of a model is above this; the largest vocabularies have under a million entries."""


@dataclass(frozen=True)
class Described:
    """A model of which the shapes are known.

    Args:
        name: As the user wrote it.
        has_weights: Whether it can be loaded and run here.
    """

    name: str
    shape: Shape
    num_parameters: int
    has_weights: bool

    @property
    def elementwise(self) -> Elementwise:
        """What the model computes value by value."""
        return registry.family(self.shape.config["model_type"]).elementwise(self.shape.config)


def describe(name: str) -> Described:
    """Find a model's shapes; nothing but a config is ever downloaded.

    Raises:
        CostError: A config with shapes that no transformer has.
        ModelError: Nothing of that name, or an unknown family.
    """
    foreign.check_name(name)
    published = SHAPES.get(name if Path(name).exists() else name.lower())  # T0-11B is t0-11b, unless it lies here
    if published is not None:
        return Described(name, published, num_parameters(published), has_weights=False)
    if name in registry.PACKAGED:
        path = registry.PACKAGED[name].folder / "config.json"
        return _described(name, _shape(path, _table(path)), has_weights=registry.PACKAGED[name].path() is not None)
    folder = registry.embedded_models().get(name, Path(name))
    if name and header.is_gguf(folder):
        return _described(name, _shape(folder, gguf_config.table(header.read(source.find(name)))), has_weights=True)
    path = folder / "config.json" if folder.is_dir() else folder
    if name and folder.is_dir() and not path.is_file():
        raise ModelError(f"folder '{name}' has no config.json", hint="give a folder that has one, or the file")
    if not path.is_file():
        path = _downloaded(name)
    return _described(name, _shape(path, _table(path)), has_weights=any(path.parent.glob("*.safetensors")))


def listed() -> list[Described]:
    """Describe the models that have a name here: embedded, packaged, published."""
    return [describe(name) for name in (*registry.embedded_models(), *registry.PACKAGED, *SHAPES)]


def _described(name: str, shape: Shape, *, has_weights: bool) -> Described:
    return Described(name, shape, num_parameters(shape), has_weights)


class Incomplete(Exception):
    """A config.json does not name a field that its family reads."""


class Fields:
    """A config.json as its family reads it: by attributes.

    Args:
        table: The fields of the file.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.__dict__.update(table)

    def __getattr__(self, name: str) -> Any:
        """Refuse a field that is not there, even where the caller has a default: transformers' may be another one.

        Raises:
            Incomplete: Always.
        """
        raise Incomplete(name)


def _table(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = {}
    with contextlib.suppress(ModelError):
        table = foreign.read_object(path)
    if not isinstance(table.get("model_type"), str):
        raise ModelError(
            f"'{path}' is no model config: not a JSON object with a model_type",
            hint="a config.json in the Hugging Face layout, or the folder that holds one",
        )
    return table


def _shape(path: Path, table: dict[str, Any]) -> Shape:
    family = registry.family(table["model_type"])
    _check_layers(path, table)
    try:
        return _as_written(path, table, family) or _as_transformers_reads(path, table, family)
    except PeftbenchError as error:
        raise CostError(f"'{path}': {error.message}", hint=error.hint) from None
    except Exception as error:  # transformers checks fields in classes of its own, each with its own error
        reason = "heads or sizes are 0" if isinstance(error, ZeroDivisionError) else foreign.reason(error)
        raise CostError(f"'{path}' describes no model: {reason}", hint="check the sizes in it") from None


def _check_layers(path: Path, table: Mapping[str, Any]) -> None:
    """Refuse more layers than any model has, before something is made for each of them."""
    most = foreign.LAYERS[1]
    for name in foreign.NUM_LAYERS:
        value = table.get(name)
        if isinstance(value, int) and value > most:
            raise CostError(f"'{path}': {name} = {foreign.line(str(value))}", hint=f"at most {most:,} layers")


def _as_written(path: Path, table: Mapping[str, Any], family: Family) -> Shape | None:
    """Read a config.json without transformers; None where it leaves fields to their defaults, or has wrong ones."""
    try:
        shape = _read(path, table, family, Fields(table))
    except (Incomplete, TypeError, ValueError, AttributeError, ZeroDivisionError, PeftbenchError):
        return None
    numbers = (value for value in vars(shape.sizes).values() if not isinstance(value, tuple))
    return shape if all(isinstance(value, int) for value in numbers) else None


def _as_transformers_reads(path: Path, table: Mapping[str, Any], family: Family) -> Shape:
    from transformers import AutoConfig

    from peftbench.models.load import quiet

    with quiet():
        config = AutoConfig.for_model(**table)
    return _read(path, table, family, config)


def _read(path: Path, table: Mapping[str, Any], family: Family, config: Any) -> Shape:
    sizes = family.sizes(config)
    count.check(sizes)
    _check(table, sizes)
    tied = _is_tied(path, table, config)
    return Shape(sizes, tied=tied, max_positions=family.max_positions(config), config=table)


def _is_tied(path: Path, table: Mapping[str, Any], config: Any) -> bool:
    """Find out whether the LM head is the embedding matrix.

    transformers 5 ties T5's whatever the config says, writes so into configs that it saves, and loads an untied head
    all the same: the file's own word counts, and above it that of weights that lie beside it.
    """
    files = sorted(path.parent.glob("*.safetensors")) if config.model_type == "t5" else []
    if files:
        return not any(HEAD in weights.header(file) for file in files)
    return bool(table.get("tie_word_embeddings", config.tie_word_embeddings))


def _check(table: Mapping[str, Any], sizes: Sizes) -> None:
    """Refuse what `count.check` cannot see in sizes that were already divided, and what is absurd."""
    width = next((table[name] for name in ("n_embd", "n_embed", "hidden_size") if name in table), None)
    if width is not None and table.get("head_dim") is None and width % sizes.num_heads:
        raise CostError(f"{sizes.num_heads} heads do not divide {width} features", hint="check the sizes in it")
    alone = replace(sizes, num_other_parameters=0)  # a product of others
    largest = max(value for value in vars(alone).values() if isinstance(value, int))
    if largest > MOST:
        raise CostError(f"a size of {largest:,}", hint=f"sizes go up to {MOST:,} here")


def _downloaded(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    names = (*registry.embedded_models(), *registry.PACKAGED, *SHAPES)
    if Path(name).exists() or not source.HUB_ID.fullmatch(name):
        registry.known(name, names, "model", ModelError)
    try:
        return Path(hf_hub_download(name, "config.json"))
    except Exception as error:  # the network fails in many ways, in several libraries' classes
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"model '{name}' is no folder here, and its config could not be had from the hub: {reason}",
            hint=f"a config.json works as well, and {', '.join(names)}",
        ) from None
