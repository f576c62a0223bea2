"""Tasks whose answers are written, from their TOML: rows, settings, and all faults of a file at once."""

from pathlib import Path

import pytest

from peftbench import registry
from peftbench.cli.app import main
from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import load
from peftbench.tasks.text_rows import value_of_nothing
from tests.row_files import write

ROWS = [{"mr": "a", "refs": ["one", "two"]}, {"mr": "b", "refs": ["three"]}]


def toml(folder: Path, rows: list[dict] = ROWS, **changes: str) -> TaskSpec:
    """Write a task that is right but for the changes."""
    write(folder / "rows.jsonl", rows)
    table = {
        "name": '"toy"',
        "family": '"toys"',
        "description": '"toy"',
        "answer": '"text"',
        "metric": '"token_f1"',
        "references": '"refs"',
        "writing": '{max_new_tokens = 8, stop = ["\\n"]}',
        "data": '{train = "rows.jsonl", test = "rows.jsonl"}',
        "templates": '[{name = "one", text = "{{mr}} Text: ||| {{reference}}"}]',
    } | changes
    path = folder / "toy.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in table.items() if value))
    return TaskSpec(name=str(path))


def test_a_task_of_written_answers_is_loaded(tmp_path):
    task = load(toml(tmp_path))
    assert (task.is_text, task.metric, task.chance, task.classes) == (True, "token_f1", 0.0, None)
    assert task.writing is not None
    assert (task.writing.max_new_tokens, task.writing.stop, task.writing.num_beams) == (8, ("\n",), 1)
    assert [task.templates[0].render(row).choices for row in task.test] == [("one", "two"), ("three",)]


def test_other_references_are_another_task(tmp_path):
    one = load(toml(tmp_path)).sha256
    assert load(toml(tmp_path, [*ROWS[:1], {"mr": "b", "refs": ["four"]}])).sha256 != one


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"metric": '"accuracy"', "references": ""}, ["metric 'accuracy' is of choices", "references = "]),
        ({"label": '{names = ["a", "b"]}'}, ["'label' goes with choices"]),
        ({"answer": '"choices"'}, ["metric 'token_f1' is of text", "'references' and 'writing' go with"]),
        ({"writing": '{stop = [""]}'}, ["writing.stop", "an empty text"]),
        ({"writing": "{num_beams = 0}"}, ["writing.num_beams"]),
        ({"templates": '[{name = "one", text = "{{mr}}"}, {name = "two", text = "x ||| {{reference}}"}]'},
         ["template 'one' does not end in", "template 'two' names no column"]),
        ({"references": '"reference"'}, ["no column 'reference' of references in row 1"]),
        ({"references": '["mr", "refs"]'}, ["reads the references in 'mr'"]),
    ],
)  # fmt: skip
def test_all_faults_of_a_file_are_told_at_once(tmp_path, changes, parts):
    with pytest.raises(TaskError) as fault:
        load(toml(tmp_path, **changes))
    assert all(part in fault.value.message for part in parts), fault.value.message
    assert "\n" not in fault.value.message


def test_rows_without_references_are_counted_and_named(tmp_path):
    rows = [*ROWS, {"mr": "c", "refs": []}, {"mr": "d", "refs": None}, {"mr": "e", "refs": ["", " "]}]
    with pytest.raises(TaskError, match="3 of 5 rows have no reference: 3, 4, 5"):
        load(toml(tmp_path, rows))


def test_rows_that_are_split_into_folds_may_lack_references(tmp_path):
    task = load(toml(tmp_path, [{"mr": "c", "refs": []}, *ROWS]), as_pool=True)
    assert [(row.id, row.fields["mr"]) for row in task.train] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize("name", ["exact_match", "token_f1", "contains", "bleu", "ter"])
def test_the_value_of_nothing_is_the_metrics_own(name):
    metric = registry.text_metric(name)
    for package in metric.packages:
        pytest.importorskip(package)
    value = metric.of(["", ""], [["a red house"], ["two"]])
    assert value * metric.scale / 100 == pytest.approx(value_of_nothing(name))


def test_a_task_is_shown_with_its_settings(tmp_path, capsys):
    assert main(["show", toml(tmp_path).name]) == 0
    out = capsys.readouterr().out
    assert "token F1 of answers that are written: max_new_tokens 8, stop ('\\n',)" in out
    assert "different references of a row: 1 to 2, 1.5 on average" in out
