"""A submission's folder: what is in it, and which folders are refused."""

import csv
from pathlib import Path

import pytest

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.tasks.leaderboards import base
from tests.tasks.test_load import write

BOARD = registry.leaderboard("raft")
ANSWERS = {"overruling": "overruling", "banking_77": "Refund_not_showing_up"}
"""A class of each task that is left."""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Two of the tasks, of three rows each."""
    monkeypatch.setitem(registry.GROUP_TASKS, "raft", tuple(ANSWERS))
    for name in ANSWERS:
        (tmp_path / "data" / name).mkdir(parents=True)
        write(tmp_path / "data" / name / "test.jsonl", [{"ID": id, "Label": 0} for id in (50, 51, "52")])
    return {name: base.read(BOARD, name, tmp_path / "data") for name in ANSWERS}


def answered(tasks: dict[str, base.OpenTask]) -> dict[str, dict[str, str]]:
    return {name: dict.fromkeys(task.ids, ANSWERS[name]) for name, task in tasks.items()}


def edited(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name / "predictions.csv"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_each_row_stands_in_the_file_once_in_its_order(tasks, tmp_path):
    base.write(BOARD, tmp_path / "out", answered(tasks), tasks)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(ANSWERS)
    with (tmp_path / "out" / "banking_77" / "predictions.csv").open(newline="") as file:
        table = list(csv.reader(file))
    assert table == [["ID", "Label"], *([id, "Refund_not_showing_up"] for id in ("50", "51", "52"))]
    base.check(BOARD, tmp_path / "out", tasks)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("51,overruling\n", "", "overruling: no answer to ID 51"),
        ("51,", "50,", "overruling: no answer to ID 51; overruling: several answers to ID 50"),
        ("52,", "49,", "overruling: no answer to ID 52; overruling: no row has ID 49"),
        ("51,overruling", "51,Overruling", "overruling: no class of it is 'Overruling'"),
        ("51,overruling", "51,1", "overruling: no class of it is '1'"),
        ("ID,Label", "Label,ID", "overruling: columns Label, ID, and they are ID, Label"),
        ("51,overruling", "51", "line 3 does not have 2 fields"),
    ],
)
def test_a_folder_at_fault_is_refused(tasks, tmp_path, old, new, fault):
    folder = tmp_path / "out"
    base.write(BOARD, folder, answered(tasks), tasks)
    edited(folder, "overruling", old, new)
    with pytest.raises(TaskError) as caught:
        base.check(BOARD, folder, tasks)
    assert fault in caught.value.message
    assert "\n" not in caught.value.message
    assert "banking_77" not in caught.value.message


def test_all_faults_are_told_at_once(tasks, tmp_path):
    folder = tmp_path / "out"
    base.write(BOARD, folder, answered(tasks), tasks)
    edited(folder, "overruling", "51,overruling\n", "")
    (folder / "banking_77" / "predictions.csv").unlink()
    with pytest.raises(TaskError, match=r"no answer to ID 51; banking_77: cannot read .*predictions.csv"):
        base.check(BOARD, folder, tasks)


@pytest.mark.parametrize("label", ["not a class", "Overruling"])
def test_nothing_is_written_where_an_answer_is_no_class(tasks, tmp_path, label):
    answers = answered(tasks)
    answers["overruling"]["51"] = label
    with pytest.raises(TaskError, match=f"no class of it is '{label}'"):
        base.write(BOARD, tmp_path / "out", answers, tasks)
    del answers["overruling"]["51"]
    with pytest.raises(TaskError, match="no answer to ID 51"):
        base.write(BOARD, tmp_path / "out", answers, tasks)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("ids", "fault"), [((50, ""), "row 2 to be answered .* has no ID"), ((50, "50"), "have one ID: 50")]
)
def test_rows_whose_ids_do_not_name_them_are_refused(tasks, tmp_path, ids, fault):
    write(tmp_path / "data" / "overruling" / "test.jsonl", [{"ID": id} for id in ids])
    with pytest.raises(TaskError, match=fault):
        base.read(BOARD, "overruling", tmp_path / "data")


def test_another_number_of_rows_than_the_leaderboards_is_remarked_on(tasks):
    remark = base.remark(BOARD, tasks["overruling"])
    assert str(remark).startswith("overruling: 3 rows, and the leaderboard scores 2,350")
    full = base.OpenTask(tasks["overruling"].file, [], tuple(map(str, range(50, 2400))))
    assert base.remark(BOARD, full) is None


def test_the_leaderboard_scores_the_tasks_of_its_group():
    assert set(BOARD.num_rows) == set(BOARD.tasks)
    assert len(BOARD.tasks) == 11
