import inspect
import subprocess
import sys

import pytest
import typer

import peftbench
from peftbench.cli.commands import COMMANDS, load
from peftbench.store.record import identify
from peftbench.store.seal import sealed
from tests.report.records import record

HEAVY = ("torch", "transformers", "datasets", "pandas")
PROGRAM = """
import sys
from peftbench.cli.app import main
code = main(sys.argv[1:])
print("imported:", *(name for name in {heavy} if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""


def imported(*words, program=PROGRAM, code=0):
    run = subprocess.run(
        [sys.executable, "-c", program.format(heavy=HEAVY), *words], capture_output=True, text=True, check=False
    )
    assert run.returncode == code, run.stderr
    return run.stderr.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["icl", "--help"],
        ["tune", "--help"],
        ["cost", "--help"],
        ["compare", "--help"],
        ["report", "--reference", "t-few", "--results", "nowhere"],
        ["list", "methods"],
        ["list", "tasks"],
        ["list", "models"],
        ["list", "recipes"],
    ],
)
def test_looking_imports_nothing_heavy(words):
    assert imported(*words) == []


def test_the_list_of_commands_imports_neither_pydantic_nor_a_command():
    """Typer itself imports pydantic once a command is named."""
    modules = {f"peftbench.cli.{command.partition(':')[0]}" for command, _ in COMMANDS.values()}
    counting = PROGRAM.replace("print(", "print(len(sys.modules), file=sys.stderr); print(")
    program = counting.format(heavy=(*HEAVY, "pydantic", "peftbench.registry", *modules))
    run = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    count, names = run.stderr.splitlines()[-2:]
    assert names == "imported:"
    assert int(count) < 360


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_of_each_what_its_own_help_begins_with(name):
    loaded = load(name)
    about = loaded.info.help if isinstance(loaded, typer.Typer) else inspect.getdoc(loaded).partition("\n\n")[0]
    assert COMMANDS[name][1] == about


def test_a_report_over_records_imports_nothing_heavy(tmp_path):
    records = tmp_path / "records"
    records.mkdir()
    for written in (record(), record("ia3", "mini-t0")):
        named = written.model_copy(update={"id": identify(written.identity)})
        (records / f"{named.id}.json").write_text(sealed(named.model_dump_json(indent=2)))
    assert imported("report", "--results", str(tmp_path)) == []


@pytest.mark.parametrize("words", [["--model", "t0-11"], ["--shots", "-1"], ["--audit", "gpt-4"]])
def test_a_cost_that_cannot_be_counted_is_refused_before_anything_heavy_is_imported(words):
    assert imported("cost", *words, code=2) == []


def test_the_check_would_see_a_heavy_import():
    assert imported("--version", program="import pandas\n" + PROGRAM) == ["pandas"]


def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "peftbench", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"peftbench {peftbench.__version__}"
