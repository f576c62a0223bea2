"""Rows from a folder in place of the hub's: which files count, and that nothing but the rows decides."""

from pathlib import Path

import datasets
import pytest

from peftbench.cli.app import main
from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load
from tests.row_files import write

ROWS = [{"premise": f"It rains {n} times.", "hypothesis": "It is wet.", "label": n % 2} for n in range(4)]


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    def load_dataset(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)


def rte(data: Path, **changes):
    return load(TaskSpec(name="rte", data=data, **changes))


def test_the_folder_replaces_the_hub(tmp_path):
    write(tmp_path / "rte" / "train.jsonl", ROWS)
    write(tmp_path / "rte" / "test.csv", ROWS[1:])
    task = rte(tmp_path)
    assert [row.label for row in task.train] == [0, 1, 0, 1]
    assert [row.label for row in task.test] == [1, 0, 1]


def test_the_hubs_name_of_a_split_counts_where_test_is_missing(tmp_path):
    write(tmp_path / "rte" / "train.jsonl", ROWS)
    validation = write(tmp_path / "rte" / "validation.jsonl", ROWS[:3])
    assert len(rte(tmp_path).test) == 3
    write(tmp_path / "rte" / "test.jsonl", ROWS[:2])
    assert len(rte(tmp_path).test) == 2
    validation.rename(validation.with_name("train.csv"))
    with pytest.raises(TaskError, match=r"has train.csv and train.jsonl, and the rows are in one file"):
        rte(tmp_path)


def test_rows_are_the_identity_and_not_where_they_came_from(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        write(tmp_path / folder / "rte" / "train.jsonl", ROWS)
        write(tmp_path / folder / "rte" / "test.jsonl", ROWS)
    first, second = rte(tmp_path / "a"), rte(tmp_path / "b")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_list(ROWS))
    of_hub = load(TaskSpec(name="rte"))
    assert first.sha256 == second.sha256 == of_hub.sha256
    assert not first.is_own  # so that the shots are the hub's as well
    write(tmp_path / "b" / "rte" / "test.jsonl", ROWS[::-1])
    assert rte(tmp_path / "b").sha256 != first.sha256


def test_files_that_are_named_win(tmp_path):
    write(tmp_path / "rte" / "train.jsonl", ROWS)
    task = rte(tmp_path, test=write(tmp_path / "own.jsonl", ROWS[:2]))
    assert (len(task.train), len(task.test)) == (4, 2)


def test_rows_that_come_with_the_package_stay_unless_the_folder_has_the_task(tmp_path):
    assert load(TaskSpec(name="lab-nli2", data=tmp_path)).sha256 == load(TaskSpec(name="lab-nli2")).sha256
    assert load(TaskSpec(name="lab-train", data=tmp_path)).name == "lab-train"
    (tmp_path / "lab-nli2").mkdir()
    with pytest.raises(TaskError, match="has no train rows of task 'lab-nli2'"):
        load(TaskSpec(name="lab-nli2", data=tmp_path))


@pytest.mark.parametrize("name", ["icl", "run"])
def test_a_task_that_is_not_there_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEFTBENCH_DATA", "data")
    write(tmp_path / "data" / "rte" / "train.jsonl", ROWS)
    (tmp_path / "recipe.toml").write_text(
        'name = "r"\ndescription = "d"\n[[run]]\nlearner = "icl"\nmodel = "mini-gpt"\ntask = "rte"\n'
    )
    assert main([name, *(["--task", "rte"] if name == "icl" else ["recipe.toml"]), "--quiet"]) == 2
    error, _, hint = capsys.readouterr().err.strip().partition("\n\n")
    assert error == "error: --data 'data' has no test rows of task 'rte'"
    looked_for = "data/rte/test.jsonl or data/rte/validation.jsonl"
    assert hint == f"hint: looked for {looked_for}; .csv, .tsv and .parquet are read too"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "recipe.toml"]
    assert main([name, *(["--task", "rte"] if name == "icl" else ["recipe.toml"]), "--data", "nowhere"]) == 2
    assert "'nowhere' is no folder" in capsys.readouterr().err


STORY = {f"InputSentence{number}": f"Sentence {number}." for number in range(1, 5)}
ENDS = {"RandomFifthSentenceQuiz1": "Good.", "RandomFifthSentenceQuiz2": "Bad."}


def test_rows_that_come_by_hand_are_told_how_to_get_and_read_under_their_authors_names(tmp_path):
    with pytest.raises(TaskError, match=r"nothing can download the rows of task 'storycloze': .*rocstories") as caught:
        load(TaskSpec(name="storycloze"))
    assert "DIR/storycloze/train.csv" in str(caught.value.hint)
    table = [STORY | ENDS | {"AnswerRightEnding": label} for label in (1, 2)]
    write(tmp_path / "storycloze" / "cloze_test_val__spring2016 - cloze_test_ALL_val.csv", table)
    with pytest.raises(TaskError, match="has no test rows of task 'storycloze'"):
        load(TaskSpec(name="storycloze", data=tmp_path))
    write(tmp_path / "storycloze" / "test.jsonl", table[::-1])
    task = load(TaskSpec(name="storycloze", data=tmp_path))
    assert ([row.label for row in task.train], [row.label for row in task.test]) == ([0, 1], [1, 0])
