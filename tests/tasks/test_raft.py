"""RAFT's eleven tasks: 50 labelled rows, and rows whose labels nobody shows."""

import csv
import json
from pathlib import Path

import pytest

from peftbench import registry
from peftbench.cli.app import main
from peftbench.errors import TaskError
from peftbench.spec.cell import Cell, Fold, TaskSpec
from peftbench.tasks import labels, schema
from peftbench.tasks.load import load, unlabelled
from peftbench.tasks.task import Row
from tests import real
from tests.tasks.test_load import write

TASKS = {name: schema.read(registry.task_file(name)) for name in registry.GROUP_TASKS["raft"]}
COLUMNS = {
    "ade_corpus_v2": ["Sentence"],
    "banking_77": ["Query"],
    "neurips_impact_statement_risks": ["Paper title", "Paper link", "Impact statement"],
    "one_stop_english": ["Article"],
    "overruling": ["Sentence"],
    "semiconductor_org_types": ["Paper title", "Organization name"],
    "systematic_review_inclusion": ["Title", "Abstract", "Authors", "Journal"],
    "tai_safety_research": [
        "Title", "Abstract Note", "Url", "Publication Year", "Item Type", "Author", "Publication Title",
    ],
    "terms_of_service": ["Sentence"],
    "tweet_eval_hate": ["Tweet"],
    "twitter_complaints": ["Tweet text"],
}  # fmt: skip
"""Of the published rows, without ID and Label."""
NOT_READ = {"Paper link", "Authors", "Url", "Author"}


def written(name: str, folder: Path, values: list) -> TaskSpec:
    """Write a row for each value of the label, and a test row without one."""
    (folder / name).mkdir()
    fields = {column: f"the {column}" for column in COLUMNS[name]}
    table = [fields | {"Label": value, "ID": number} for number, value in enumerate(values)]
    write(folder / name / "train.jsonl", table)
    write(folder / name / "test.jsonl", [fields | {"ID": 50}])
    return TaskSpec(name=name, data=folder)


@pytest.mark.parametrize("name", TASKS)
def test_both_wordings_show_each_field_that_is_read_once_and_all_labels_are_choices(name, tmp_path):
    names = TASKS[name].label.names
    task = load(written(name, tmp_path, [*names]))
    assert (task.metric, task.group, len(task.test)) == ("macro_f1", "raft", 0)
    assert list(names) == sorted(names)  # capitals first, as on the hub
    instruction, fields = (template.render(task.train[-1]) for template in task.templates)
    for column in COLUMNS[name]:
        number = 0 if column in NOT_READ else 1
        assert [text.input.count(f"{column}: the {column}\n") for text in (instruction, fields)] == [number, number]
    shown = [label.replace("_", " ") for label in names]
    assert list(instruction.choices) == list(fields.choices) == shown
    assert f"Possible labels: {', '.join(shown)}\n" in instruction.input
    assert instruction.input.endswith(fields.input)
    assert fields.input.endswith("\nLabel:")


@pytest.mark.parametrize("name", TASKS)
def test_the_hubs_numbers_count_from_one_and_zero_means_no_class(name, tmp_path):
    num_classes = len(TASKS[name].label.names)
    task = load(written(name, tmp_path, list(range(1, num_classes + 1))))
    assert [row.label for row in task.train] == list(range(num_classes))
    with pytest.raises(TaskError, match="label 0 in row 2 is none of"):
        load(TaskSpec(name=name, train=written_again(tmp_path / "zero.jsonl", task.train, 0)))


def written_again(path: Path, rows: tuple[Row, ...], label: int) -> Path:
    table = [dict(rows[0].fields), dict(rows[1].fields) | {"Label": label}]
    return write(path, table)


def test_an_empty_field_leaves_no_line(tmp_path):
    spec = written("systematic_review_inclusion", tmp_path, ["included", "not included"])
    task = load(spec)
    bare = Row(0, dict.fromkeys(COLUMNS["systematic_review_inclusion"], " ") | {"Journal": "J"}, 1)
    assert task.templates[1].render(bare).input == "Journal: J\nLabel:"
    assert task.templates[1].render(Row(0, dict.fromkeys(bare.fields, ""), 1)).input == "Label:"


def test_numbers_that_a_task_counts_from_one_look_odd_to_nobody(tmp_path):
    task = load(written("one_stop_english", tmp_path, [2, 3, 2, 3]))
    assert labels.remark(task) is None


def test_a_test_file_without_labels_is_answered_and_never_scored(tmp_path, monkeypatch, capsys):
    spec = written("overruling", tmp_path, ["overruling", "not overruling"])
    file, rows = unlabelled(spec)
    assert (file.name, rows) == ("overruling", [{"Sentence": "the Sentence", "ID": 50}])
    monkeypatch.chdir(tmp_path)
    assert main(["icl", "--task", "overruling", "--data", ".", "--shots", "0", "--quiet"]) == 2
    assert "task 'overruling' has no test rows" in capsys.readouterr().err
    with pytest.raises(TaskError, match="task 'rte' has no unlabelled rows"):
        unlabelled(TaskSpec(name="rte"))


def test_a_task_has_labelled_test_rows_or_unlabelled_ones(tmp_path):
    path = tmp_path / "two.toml"
    text = registry.task_file("overruling").read_text(encoding="utf-8")
    path.write_text(text.replace('test = ""', 'test = "test"'), encoding="utf-8")
    with pytest.raises(TaskError, match="a task has one of the two"):
        schema.read(path)


def test_folds_of_a_task_with_rare_classes_may_lack_one(tmp_path):
    from peftbench.flow.plan import plan

    values = ["included"] + 9 * ["not included"]
    spec = written("systematic_review_inclusion", tmp_path, values)
    path = tmp_path / spec.name / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    write(path, [row | {"Title": f"Title {number}"} for number, row in enumerate(rows)])
    folds = [Fold(index=index, of=5) for index in range(5)]
    cells = [Cell(learner="icl", model="mini-gpt", task=spec, shots=0, fold=fold) for fold in folds]
    tested = [row.label for cell in cells for row in plan(cell).task.test]
    assert sorted(tested) == [0, *9 * [1]]
    too_many = cells[0].model_copy(update={"fold": Fold(index=0, of=11)})
    with pytest.raises(TaskError, match="11 folds of 10 rows"):
        plan(too_many)


# -- real rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize("name", TASKS)
def test_the_published_rows_are_read_as_they_are(name):
    folder = real.folder() / "raft"
    task = load(TaskSpec(name=name, data=folder))
    assert len(task.train) == 50
    declared = json.loads((folder / name / "task.json").read_text(encoding="utf-8"))
    assert list(TASKS[name].label.names) == declared["label_columns"]["Label"]
    with (folder / name / "train.csv").open(encoding="utf-8-sig", newline="") as file:
        texts = [row["Label"] for row in csv.DictReader(file)]
    assert [task.classes[row.label] for row in task.train] == texts
    for template in task.templates:
        inputs = [template.render(row).input for row in task.train]
        assert all(len(text) > len("Label:") for text in inputs)
        assert not any("\n\nLabel" in text or " \nLabel" in text for text in inputs)
