"""What commands import: all of them are run one after the other in one process, what needs least first."""

import inspect
import json
import subprocess
import sys

import pytest
import typer

import peftbench
from peftbench.cli.commands import COMMANDS, load
from peftbench.store.pack import pack
from peftbench.store.record import identify
from peftbench.store.seal import sealed
from tests.report.records import record

HEAVY = {"torch", "transformers", "datasets", "pandas"}
ARRAYS = {"numpy", "pyarrow", "jinja2"}
"""What rows and intervals need, and names do not."""
LISTS = [[name, "--help"] for name in COMMANDS] + [["list", kind] for kind in ("methods", "models", "recipes")]
REFUSED = [["cost", *words] for words in (["--model", "t0-11"], ["--shots", "-1"], ["--audit", "gpt-4"])]
READ = [
    ["list", "tasks"],
    ["report", "--reference", "t-few", "--results", "nowhere"],
    ["report", "--results", "results"],
    ["report", "--results", "results", "--format", "html", "--out", "report.html"],
    ["advise", "--queries", "10", "--results", "results"],
]
PROGRAM = """
import contextlib, io, json, sys
from peftbench.cli.app import main
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(json.loads(line))
    print(json.dumps([code, said.getvalue(), list(sys.modules)]))
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """Give the names of the modules that are there after each command."""
    folder = tmp_path_factory.mktemp("startup")
    (folder / "results" / "records").mkdir(parents=True)
    for written in (record(), record("ia3", "mini-t0")):
        named = written.model_copy(update={"id": identify(written.identity)})
        path = folder / "results" / "records" / f"{named.id}.json"
        path.write_text(sealed(named.model_dump_json(indent=2)))
    pack(folder / "results")
    path.unlink()
    commands = [["--help"], *LISTS, *REFUSED, *READ]
    lines = "".join(json.dumps(command) + "\n" for command in commands)
    program = [sys.executable, "-c", PROGRAM]
    run = subprocess.run(program, input=lines, capture_output=True, text=True, check=True, cwd=folder)
    done = [json.loads(line) for line in run.stdout.splitlines()]
    assert [code for code, *_ in done] == [2 if command in REFUSED else 0 for command in commands], done
    return {" ".join(command): set(names) for command, (*_, names) in zip(commands, done, strict=True)}


def test_the_list_of_commands_imports_neither_pydantic_nor_a_command(modules):
    """Typer itself imports pydantic once a command is named."""
    commands = {f"peftbench.cli.{command.partition(':')[0]}" for command, _ in COMMANDS.values()}
    assert modules["--help"] & {*HEAVY, *ARRAYS, "pydantic", "peftbench.registry", *commands} == set()
    assert {"rich.panel", "peftbench.cli.app"} < modules["--help"]
    assert len(modules["--help"]) < 360


@pytest.mark.parametrize("command", [" ".join(command) for command in LISTS])
def test_help_and_lists_of_names_import_no_arrays(command, modules):
    assert modules[command] & (HEAVY | ARRAYS) == set()


@pytest.mark.parametrize("command", [" ".join(command) for command in [*REFUSED, *READ]])
def test_reading_records_and_refusing_import_nothing_heavy(command, modules):
    assert modules[command] & HEAVY == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_of_each_what_its_own_help_begins_with(name):
    loaded = load(name)
    about = loaded.info.help if isinstance(loaded, typer.Typer) else inspect.getdoc(loaded).partition("\n\n")[0]
    assert COMMANDS[name][1] == about


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "peftbench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"peftbench {peftbench.__version__}"
