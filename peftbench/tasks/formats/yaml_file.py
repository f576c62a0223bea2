"""YAML of strangers as plain tables: nothing in it is executed, and it is read within limits."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftbench.errors import TaskError
from peftbench.spec import limits, values

if TYPE_CHECKING:
    import yaml

TABLES = ("!Template", "!TemplateMetadata")
"""promptsource's tags, of tables."""
FUNCTION = "!function"
"""lm-evaluation-harness's tag, of a function's name."""
HINT = "promptsource's templates.yaml, or a task's YAML of lm-evaluation-harness"


@dataclass(frozen=True)
class Function:
    """A function that a file names; it is never looked up."""

    name: str


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file whose top is a table.

    Raises:
        TaskError: It cannot be read, is no YAML, has other tags than those of the two projects, a name with two values,
            or goes beyond the limits of `spec.limits`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limits.MAX_YAML_BYTES + 1)
    except OSError as error:
        hint = "`peftbench list tasks` names those that come along"
        raise TaskError(f"cannot read task '{path}': {error.strerror}", hint=hint) from None
    try:
        return _table(content)
    except ValueError as error:
        raise TaskError(f"task '{path}' is not valid YAML: {error}", hint=HINT) from None


def _table(content: bytes) -> dict[str, Any]:
    import yaml

    if len(content) > limits.MAX_YAML_BYTES:
        raise ValueError(f"more than {limits.MAX_YAML_BYTES:,} bytes")
    text = content.decode()
    try:
        _check_size(text)
        table = yaml.load(text, Loader=_loader())  # a SafeLoader
    except ValueError:
        raise
    except Exception as error:  # of its parser, or of whatever reads numbers, dates and sets
        raise ValueError(_line(error)) from None
    if not isinstance(table, dict):
        raise ValueError("no table of names and values")
    values.check(table)
    return table


def _check_size(text: str) -> None:
    """Refuse what is nested deep, or has many values once each alias is written out.

    Raises:
        ValueError: It is, or an alias stands in what it stands for.
    """
    import yaml

    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=_base()):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"the alias '{event.anchor}' of nothing that stands before it")
            total += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes |= {anchor: total - before} if anchor else {}
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes |= {event.anchor: 1} if event.anchor else {}
        if len(opened) > limits.MAX_DEPTH:
            raise ValueError(f"tables and lists in each other, deeper than {limits.MAX_DEPTH}")
        if total > limits.MAX_YAML_VALUES:
            raise ValueError(f"more than {limits.MAX_YAML_VALUES:,} values")


def _base() -> Any:
    """Return the safe loader; the one in C reads a hundred times as fast."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _loader() -> Any:
    """Make a safe loader that knows the tags of both projects, and refuses a name with two values."""

    class Loader(_base()):  # type: ignore[misc]
        """Reads tables, lists, texts and numbers."""

    for tag in TABLES:
        Loader.add_constructor(tag, _mapping)
    Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
    Loader.add_constructor(FUNCTION, lambda loader, node: Function(str(loader.construct_scalar(node))))
    return Loader


def _mapping(loader: Any, node: "yaml.MappingNode") -> dict[Hashable, Any]:
    """Build a table; a name that stands there twice must have one value."""
    loader.flatten_mapping(node)
    table: dict[Hashable, Any] = {}
    for name_node, value_node in node.value:
        name, value = loader.construct_object(name_node, deep=True), loader.construct_object(value_node, deep=True)
        if not isinstance(name, Hashable):
            raise ValueError("a table or a list for a name")
        if name in table and table[name] != value:
            raise ValueError(f"'{name}' has two values")
        table[name] = value
    return table


def _line(error: Exception) -> str:
    """Write what the library said, on one line."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    text = " ".join(str(problem or error).split())[: limits.MAX_COLUMN_CHARS] or type(error).__name__
    return f"{text} (line {mark.line + 1})" if mark is not None else text
