"""The commands by name: the module of a command is imported when the command is run, or its own help is shown."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from peftbench.cli.options import Command, Group, flatten

COMMANDS = {
    "decide": ("decide:decide", "Decide between examples in the prompt and tuning, from one file of labelled rows."),
    "icl": ("icl:icl", "Evaluate in-context learning: k labelled examples in front of every query."),
    "tune": ("tune:tune", "Evaluate few-shot tuning, beside the same model's zero-shot."),
    "report": (
        "report:report",
        "Show all records as a table: accuracy beside FLOPs, bytes and trained parameters.",
    ),
    "run": ("run:run", "Run everything that a recipe asks for and that has no record yet."),
    "cost": (
        "cost:cost",
        "Count FLOPs, bytes and break-even points from a model's shapes; no weights, no download, any size.",
    ),
    "predict": ("predict:predict", "Predict the rows of a file with adapters, or with a record's shots."),
    "submit": (
        "submit:submit",
        "Answer a leaderboard's rows, whose labels nobody shows, and write the folder that it scores.",
    ),
    "export": ("export:export", "Write an adapter so that other tools load it."),
    "compare": (
        "compare:compare",
        "Test whether A and B are different, over the examples that both answered: icl@mini-gpt:32 ia3@mini-t0.",
    ),
    "advise": (
        "advise:advise",
        "Say which row is the cheapest that is good enough for N queries, or what to run to find out.",
    ),
    "list": ("list:show_list", "List methods, tasks, models or recipes."),
    "show": (
        "show:show",
        "Show a task as models see it: rendered rows, answer choices, labels in their order, chance.",
    ),
    "lab": ("lab:lab", "How the embedded models were made; what a task looks like."),
}
"""Name -> module of `peftbench.cli` and what it calls the command, or the group; and what `peftbench --help` says."""


class Program(Group):
    """The group of all commands, none of which is imported to list them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: TyperCommand(name, help=about) for name, (_, about) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Import the command that the first word names."""
        name, _, rest = super().resolve_command(ctx, args)
        assert name is not None, "words that are only completed name no command"
        return name, built(name), rest


def load(name: str) -> Callable[..., None] | typer.Typer:
    """Import the function of a command, or a group of commands."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    command: Callable[..., None] | typer.Typer = getattr(import_module(f"peftbench.cli.{module}"), attribute)
    return command


@cache
def built(name: str) -> Any:
    """Import a command and read its options off its signature, once in a process: that takes long."""
    loaded = load(name)
    if not isinstance(loaded, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command(name, cls=Command)(flatten(loaded))
        loaded = alone
    return typer.main.get_command(loaded)
