"""`peftbench cost --memory` and `--fit`: what a model takes of memory by part, and what of it fits."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from peftbench.cli.options import FLAG, Format
from peftbench.errors import CostError

if TYPE_CHECKING:
    from peftbench.costs.of_model import Workload

MEMORY = "Memory"
METHODS = ("ia3", "lora", "full")
"""Counted where none is named."""
UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([A-Za-z]+)")


@dataclass(frozen=True)
class MemoryOptions:
    """What is shown of memory."""

    memory: Annotated[
        bool,
        Option(
            "--memory",
            help="Show peak memory by part: float32, bfloat16, 4 bits; with and without checkpointing.",
            metavar=FLAG,
            rich_help_panel=MEMORY,
        ),
    ] = False
    fit: Annotated[
        str | None,
        Option(
            help="Show what fits in so much memory, of --model or else of all models: 24GB (10^9), 24GiB (2^30).",
            metavar="SIZE",
            rich_help_panel=MEMORY,
        ),
    ] = None

    @property
    def is_on(self) -> bool:
        """Whether memory is what is shown."""
        return self.memory or self.fit is not None


def num_bytes(size: str) -> int:
    """Read a size of memory.

    Raises:
        CostError: It is none, or of an unknown unit.
    """
    match = SIZE.fullmatch(size.strip())
    unit = None if match is None else next((unit for unit in UNITS if unit.lower() == match[2].lower()), None)
    if match is None or unit is None or not float(match[1]):
        raise CostError(
            f"--fit '{size}' is no size of memory",
            hint="a number above 0 with its unit: 24GB is 24 x 10^9 bytes, 24GiB is 24 x 2^30",
        )
    return int(float(match[1]) * UNITS[unit])


def show(
    options: MemoryOptions, names: Sequence[str], work: "Workload", methods: dict[str, Any], form: Format, strict: bool
) -> None:
    """Show peak memory by part, or what fits.

    Args:
        options: Which.
        names: Of models; none: all that have a name here.
        work: Queries and training.
        methods: Name -> settings.
        form: Table or JSON.
        strict: Whether a method that does not fit a model is an error.

    Raises:
        CostError: No size of memory, or impossible shapes.
        MethodError: A method that does not fit.
        ModelError: Nothing of that name.
    """
    from peftbench.cli import memory_text
    from peftbench.cli.screen import stdout
    from peftbench.costs.describe import describe, listed
    from peftbench.costs.of_memory import fitting, model_memory

    room = None if options.fit is None else num_bytes(options.fit)
    models = [describe(name) for name in dict.fromkeys(names)] if names else listed()
    counted = [model_memory(model, work, methods, strict=strict and bool(names)) for model in models]
    if room is None:
        data, text = memory_text.data(counted, work), memory_text.text(counted, work, stdout())
    elif names:
        fits = [(model, fitting(model, work, methods, room)) for model in counted]
        data, text = memory_text.fit_data(fits, work, room), memory_text.fit_text(fits, work, room, stdout())
    else:
        data = memory_text.models_data(counted, work, room)
        text = memory_text.models_text(counted, work, room, stdout())
    typer.echo(json.dumps(data, indent=2) if form == "json" else text, nl=form == "json")
