"""The `peftbench` program: what runs its commands, and its exit codes."""

import os
from collections.abc import Sequence
from typing import Annotated

import typer

from peftbench import __version__
from peftbench.cli.commands import Program
from peftbench.cli.options import FLAG
from peftbench.errors import PeftbenchError
from peftbench.report.formats import escape

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended: 128 + SIGINT."""

MAX_CHARS = 2_000
"""Of an error, or of its hint: what strangers wrote may be long."""
HINT_OF_FILES = "paths start from the folder that you are in"

# typer does not export the class of all errors of usage; this is it.
UsageError = typer.BadParameter.__base__

app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with your rows: peftbench decide rows.csv. Or with the paper: peftbench icl --shots 32, "
    "peftbench tune --method ia3, peftbench report",
)


def _version(is_requested: bool) -> None:
    if is_requested:
        typer.echo(f"peftbench {__version__}")
        raise typer.Exit


@app.callback()
def peftbench(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, metavar=FLAG, help="Show the version and exit."),
    ] = False,
) -> None:
    """In-context learning or parameter-efficient fine-tuning: what each costs and how accurate it is, in one table."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the program's name; those of the process where None.

    Returns:
        Exit code: 0 done, 2 wrong input, 1 a failed run, 130 interrupted. Files that the system refuses are
            wrong input wherever that shows. Other exceptions are bugs and go through.
    """
    try:
        code = app(arguments, prog_name="peftbench", standalone_mode=False)
    except PeftbenchError as error:
        return _fail(error.message, error.hint, error.exit_code)
    except UsageError as error:  # type: ignore[misc]
        return _usage(error)
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(f"cannot use '{os.fsdecode(error.filename)}': {error.strerror}", HINT_OF_FILES, 2)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        typer.echo(
            "interrupted: what was finished is kept, nothing half-written is left; the same command goes on", err=True
        )
    return code or 0


def _usage(error: Exception) -> int:
    context = error.ctx  # type: ignore[attr-defined]
    command = context.command_path if context else "peftbench"
    message = error.format_message()  # type: ignore[attr-defined]
    if not message:  # a command without any words after it has shown its help
        return 2
    # Click lists what an option may be in lines of their own.
    message = message.rstrip(".").replace("Value error, ", "").replace("\n\t", " ")
    return _fail(message, f"`{command} --help` shows the options", 2)


def _fail(message: str, hint: str | None, code: int) -> int:
    text = f"error: {_short(message)}" + (f"\n\nhint: {_short(hint)}" if hint else "")
    typer.echo(text, err=True)
    return code


def _short(text: str) -> str:
    line = escape.line(text)
    return line if len(line) <= MAX_CHARS else f"{line[:MAX_CHARS]} ..."
