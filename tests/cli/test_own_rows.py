"""One's own rows on the command line: what draws the shots, and what is said of rows that are no test."""

import json
import re
import shlex
from pathlib import Path

import pytest

from peftbench.cli.app import main
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load
from peftbench.tasks.shots import draw
from tests import real

WORDS = "--shots 4 --template '{{text}} Sentiment: ||| {{label}}' --choices good,bad"
NAME = "x; touch PWNED #"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, number in (("train", 12), ("test", 6)):
        rows = "".join(f"{name} row {row},{('good', 'bad')[row % 2]}\n" for row in range(number))
        Path(f"{name}.csv").write_text(f"text,label\n{rows}")
    return tmp_path


def icl(train: str, test: str, capsys, words: str = "") -> str:
    assert main(shlex.split(f"icl --train {train} --test {test} {WORDS} {words}")) == 0
    return capsys.readouterr().err


def shots() -> dict[str, list[int]]:
    records = [json.loads(path.read_text()) for path in Path("results/records").glob("*.json")]
    assert {record["identity"].get("draw_version") for record in records} == {2}
    return {record["task"]["name"]: record["learned"]["shot_ids"] for record in records}


def test_the_test_files_name_does_not_decide_which_rows_are_the_shots(capsys):
    Path("test_b.csv").write_text(Path("test.csv").read_text())
    icl("train.csv", "test.csv", capsys)
    icl("train.csv", "test_b.csv", capsys)
    drawn = shots()
    assert list(drawn) != []
    assert drawn["test"] == drawn["test_b"]


def test_zero_shot_of_own_rows_draws_nothing_and_keeps_its_id(capsys):
    icl("train.csv", "test.csv", capsys, "--shots 0")
    (path,) = Path("results/records").glob("*.json")
    assert "draw_version" not in json.loads(path.read_text())["identity"]


def test_test_rows_among_the_shots_are_counted_before_anything_is_computed(capsys):
    first, *_ = icl("test.csv", "test.csv", capsys).splitlines()
    assert first.startswith("test: 4 of 6 test rows are among the shots; ")


def test_repeated_test_rows_are_counted(capsys):
    header, *rows = Path("test.csv").read_text().splitlines()
    Path("test.csv").write_text("\n".join([header, *rows, *rows[:2]]))
    first, *_ = icl("train.csv", "test.csv", capsys).splitlines()
    assert first.startswith("test: 2 of 8 test rows repeat another one; ")


def test_rows_that_are_all_new_are_not_remarked_upon(capsys):
    assert "test rows" not in icl("train.csv", "test.csv", capsys)


def suggestions(text: str) -> list[list[str]]:
    """List the commands of a text as a shell would split them."""
    joined = re.sub(r"\s*\n\s+", " ", text)
    return [
        shlex.split(line.partition("peftbench ")[2].partition("`")[0])
        for line in joined.splitlines()
        if "PWNED" in line
    ]


def test_commands_for_copying_quote_the_tasks_name(capsys):
    command = f"icl --task {shlex.quote(NAME)} --train train.csv --test test.csv {WORDS}"
    assert main(shlex.split(command)) == 0
    out = capsys.readouterr().err
    for words in ("report", "advise --queries 10"):
        assert main(shlex.split(words)) in (0, 2)
        out += "".join(capsys.readouterr())
    typed = [words for words in suggestions(out) if "--task" in words]
    assert len(typed) >= 3, out
    assert {words[words.index("--task") + 1] for words in typed} == {NAME}


@pytest.mark.parametrize("name", ["x [/]", "[red]x"])
def test_a_task_may_be_called_like_markup(capsys, name):
    assert main(shlex.split(f"icl --task '{name}' --train train.csv --test test.csv {WORDS}")) == 0
    assert f"{name}: ICL on mini-gpt" in capsys.readouterr().err


def records() -> list[dict]:
    return [json.loads(path.read_text()) for path in Path("results/records").glob("*.json")]


def test_all_rows_of_a_file_of_shots_are_the_shots_and_its_path_is_not_in_the_id(capsys):
    words = shlex.split(WORDS.removeprefix("--shots 4"))
    Path("few.csv").write_text("\n".join(Path("train.csv").read_text().splitlines()[:6]))
    Path("copy.csv").write_text(Path("few.csv").read_text())
    for name in ("few.csv", "copy.csv"):
        assert main(["icl", "--shots-from", name, "--test", "test.csv", "--seeds", "0,1", *words]) == 0
    assert "--shots-from few.csv" in capsys.readouterr().err.replace("copy", "few")
    assert {(record["seed"], record["identity"]["shots"], record["identity"]["draw"]) for record in records()} == {
        (0, 5, "file"),
        (1, 5, "file"),
    }
    orders = [record["learned"]["shot_ids"] for record in records()]
    assert [sorted(order) for order in orders] == [[0, 1, 2, 3, 4]] * 2
    assert orders[0] != orders[1]
    assert main(["icl", "--shots-from", "few.csv", "--test", "test.csv", "--shots", "2", *words]) == 0
    assert [0, 1] in [sorted(record["learned"]["shot_ids"]) for record in records()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--train train.csv", "--shots-from says which rows are the shots, and --train would say it again"),
        ("--draw balanced", "--shots-from says which rows are the shots, and --draw balanced would say it again"),
        ("--shots 0", "--shots 0 takes none of the rows of --shots-from 'train.csv'"),
        ("--shots 13", "13 shots were asked for, and task 'test' has 12 training rows"),
        ("--shots-from gone.csv", "cannot read 'gone.csv': No such file or directory"),
    ],
)
def test_a_file_of_shots_that_cannot_be_is_one_line(words, message, capsys):
    own = shlex.split(WORDS.removeprefix("--shots 4"))
    assert main(["icl", "--shots-from", "train.csv", "--test", "test.csv", *own, *shlex.split(words)]) == 2
    error, _, hint = capsys.readouterr().err.strip().partition("\n\n")
    assert message in error
    assert hint.startswith("hint: ")
    assert not Path("results").exists()


def test_a_file_of_shots_goes_with_one_task(capsys):
    assert main(["icl", "--task", "lab", "--shots-from", "train.csv"]) == 2
    assert "'lab' is 4 tasks; --train, --test and --shots-from go with one" in capsys.readouterr().err


@pytest.mark.real_data
def test_t_fews_own_draws_are_the_shots(tmp_path):
    draws = real.folder() / "tfew_shots"
    data = real.write("rte", tmp_path / "data", every=20)
    for seed in (0, 42):
        file = draws / "rte" / f"{seed}.jsonl"
        task = load(TaskSpec(name="rte", train=file, data=data))
        shots = draw(task, 32, 1, "file")
        expected = [json.loads(line)["idx"] for line in file.read_text(encoding="utf-8").splitlines()]
        assert sorted(row.fields["idx"] for row in shots) == sorted(expected)


@pytest.mark.parametrize("command", ["icl --shots 4", "tune --method ia3 --shots 4"])
def test_with_strict_test_rows_that_are_no_test_are_refused_before_anything_is_computed(command, capsys):
    words = "--template '{{text}} Sentiment: ||| {{label}}' --choices good,bad --strict"
    assert main(shlex.split(f"{command} --train test.csv --test test.csv {words}")) == 2
    out, err = capsys.readouterr()
    error, _, hint = err.splitlines()
    assert error.startswith("error: test: 4 of 6 test rows are among the shots; ")
    assert hint.startswith("hint: --strict refuses")
    assert not out
    assert not Path("results").exists()


def test_with_strict_rows_that_are_a_test_are_run(capsys):
    assert "among the shots" not in icl("train.csv", "test.csv", capsys, "--shots 0 --strict")


def test_labels_that_seem_counted_from_one_are_remarked_and_refused_with_strict(capsys):
    for name in ("train", "test"):
        text = Path(f"{name}.csv").read_text()
        Path(f"{name}.csv").write_text(text.replace(",good", ",1").replace(",bad", ",2"))
    words = (
        "icl --shots 0 --train train.csv --test test.csv --template '{{text}} ||| {{label}}' --choices good,fair,bad"
    )
    assert main(shlex.split(f"{words} --strict")) == 2
    assert "error: test: no row has label 0, as if labels were counted from 1" in capsys.readouterr().err
    assert main(shlex.split(words)) == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert "counted from 0, in the order of the choices (0 'good', 1 'fair', 2 'bad')" in first
