import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from peftbench.cli import cells
from peftbench.cli.app import main
from peftbench.cli.commands import COMMANDS
from peftbench.cli.options import OutputOptions, ScoringOptions, TaskOptions, assignments, flatten, numbers
from peftbench.errors import RecipeError


@dataclass(frozen=True)
class Pair:
    left: Annotated[int, typer.Option(help="The left one.")]
    right: Annotated[str, typer.Option(help="The right one.")] = "r"


def test_each_field_of_an_option_object_is_an_option():
    calls = []

    def command(pair: Pair, number: int = 3) -> None:
        calls.append((pair, number))

    app = typer.Typer()
    app.command()(flatten(command))
    assert CliRunner().invoke(app, ["--left", "1", "--number", "5"]).exit_code == 0
    assert calls == [(Pair(1, "r"), 5)]


@pytest.mark.parametrize(("command", "panels"), [("icl", ["Options", "Shots"]), ("tune", ["Options", "Task and data"])])
def test_help_begins_with_the_options_of_the_command_itself(command, panels, capsys):
    assert main([command, "--help"]) == 0
    assert re.findall(r"^╭─ ([\w ]+) ─", capsys.readouterr().out, re.MULTILINE)[:2] == panels


@pytest.mark.parametrize("words", [[], ["lab", "show"], *([name] for name in COMMANDS)])
def test_no_flag_looks_as_if_it_took_a_value(words, capsys):
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--help" in text
    assert "<bool>" not in text


def test_numbers_are_read_from_a_list_with_commas():
    assert numbers("0,1, 42", "seeds") == [0, 1, 42]


@pytest.mark.parametrize("text", ["", "a", "1;2", "0.5"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(RecipeError, match=r"--seeds .* is no list of whole numbers"):
        numbers(text, "seeds")


def test_values_are_read_as_toml_and_else_as_text():
    read = assignments(["rank=8", "lr=1e-3", "scale_parameter=false", "optimizer=adamw", "roles=['q', 'v']"])
    assert read == {"rank": 8, "lr": 1e-3, "scale_parameter": False, "optimizer": "adamw", "roles": ["q", "v"]}


@pytest.mark.parametrize("text", ["rank", "=8"])
def test_a_setting_without_name_or_value_is_refused(text):
    with pytest.raises(RecipeError, match="is no KEY=VALUE"):
        assignments([text])


def test_data_options_can_be_typed_again():
    options = TaskOptions(task="rte", train=Path("my rows.csv"), limit=8, templates="0,1", seeds="0")
    assert options.typed() == " --task rte --train 'my rows.csv' --templates 0,1 --limit 8"


@pytest.mark.parametrize("is_typed", [True, False])
def test_the_command_that_icl_names_takes_the_rows_of_the_same_folder(is_typed, monkeypatch):
    taken = []
    monkeypatch.setattr(cells, "carry_out", lambda some, *rest: taken.append((some, rest[-1])))
    words = ["icl", "--task", "cb", "--shots", "4", "--limit", "8"]
    if is_typed:
        words += ["--data", "my rows/here"]
    else:
        monkeypatch.setenv("PEFTBENCH_DATA", "my rows/here")
    assert main(words) == 0
    monkeypatch.delenv("PEFTBENCH_DATA", raising=False)
    assert "--data 'my rows/here'" in taken[0][1]
    assert main(shlex.split(taken[0][1])[1:]) == 0
    of_step = [(cell.task.name, cell.task.data, cell.limit) for cell in taken[1][0]]
    assert of_step == [("cb", Path("my rows/here"), 8)] * 2


def test_only_another_results_folder_is_typed_again():
    assert (OutputOptions().typed(), OutputOptions(results=Path("r")).typed()) == ("", " --results r")


def test_a_separator_may_be_typed_with_backslashes():
    assert ScoringOptions().table()["separator"] == "\n\n"
