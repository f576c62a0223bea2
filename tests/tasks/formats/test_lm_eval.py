"""Task files of lm-evaluation-harness, written here in small."""

import json
from pathlib import Path

import pytest

from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.formats.lm_eval_template import LmEvalTemplate
from peftbench.tasks.formats.read import read
from peftbench.tasks.load import load
from peftbench.tasks.task import Row

FIELDS = {
    "task": "verdict",
    "dataset_path": "reviews",
    "dataset_name": "small",
    "output_type": "multiple_choice",
    "training_split": "train",
    "validation_split": "validation",
    "doc_to_text": "{{text}}\nGood?",
    "doc_to_choice": ["no", "yes"],
    "doc_to_target": "label",
}
ROWS = [{"text": "dull", "label": 0}, {"text": "fine", "label": 1}]


class Tagged(str):
    """Stands for `!function NAME` where JSON is written."""


def write(folder: Path, name: str = "task.yaml", drop: tuple[str, ...] = (), **fields) -> Path:
    """Write a task's file, line by line as JSON, which YAML is."""
    table = {field: value for field, value in (FIELDS | fields).items() if field not in drop}
    lines = [
        f"{field}: {value if isinstance(value, Tagged) else json.dumps(value)}\n" for field, value in table.items()
    ]
    (folder / name).write_text("".join(lines))
    return folder / name


def task(folder: Path, rows: list[dict] = ROWS, **fields):
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = write(folder, **fields)
    return load(TaskSpec(name=str(path), train=folder / "rows.jsonl", test=folder / "rows.jsonl"))


def template(text="{{text}}", choices=("no", "yes"), target="label", joint=" ", description="") -> LmEvalTemplate:
    return LmEvalTemplate("one", 0, text, choices, "label", target=target, joint=joint, description=description)


def row(label=1, **fields) -> Row:
    return Row(0, {"text": "dull", "label": label} | fields, 0)


def test_a_plain_task_is_read(tmp_path):
    file = read(write(tmp_path, metadata={"version": 2.0}))
    assert (file.name, file.family, file.version, file.metric) == ("verdict", "lm-eval", 2, "accuracy")
    assert (file.data.hub, file.data.config, file.data.train, file.data.test) == (
        "reviews", "small", "train", "validation",
    )  # fmt: skip
    assert (file.label.field, file.remark) == ("label", None)
    loaded = task(tmp_path)
    example = loaded.templates[0].render(loaded.test[1])
    assert (example.input, example.joint, example.choices, example.label) == ("fine\nGood?", " ", ("no", "yes"), 1)


@pytest.mark.parametrize(
    ("fields", "splits"),
    [
        ({"test_split": "test"}, ("train", "test")),
        ({"test_split": "test", "fewshot_split": "dev"}, ("dev", "test")),
        ({"test_split": "test", "fewshot_config": {"split": "own", "sampler": "first_n"}}, ("own", "test")),
        ({"test_split": "test", "drop": ("training_split",)}, ("validation", "test")),
        ({"drop": ("training_split",)}, ("", "validation")),
    ],
)
def test_shots_never_come_from_the_test_rows(tmp_path, fields, splits):
    data = read(write(tmp_path, **fields)).data
    assert (data.train, data.test) == splits


def test_a_task_without_rows_for_shots_is_for_no_shots(tmp_path):
    path = write(tmp_path, drop=("training_split",))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    loaded = load(TaskSpec(name=str(path), test=tmp_path / "rows.jsonl"))
    assert (loaded.train, len(loaded.test)) == ((), 2)


def test_includes_are_merged_below_the_files_own_fields(tmp_path):
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "first", task="first", description="First.", task_list=["x"])
    write(tmp_path / "base", "second", drop=("doc_to_text",), task="second", description="Second.", include="first")
    (tmp_path / "own.yaml").write_text('include: [base/second]\ntask: own\ntarget_delimiter: ""\n')
    (wording,) = read(tmp_path / "own.yaml").templates
    assert (wording.name, wording.description, wording.joint) == ("own", "Second.", "")
    assert wording.text == FIELDS["doc_to_text"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"process_docs": Tagged("!function utils.f")}, r"process_docs \(the function utils.f\) is not carried out"),
        ({"doc_to_text": Tagged("!function utils.f")}, r"doc_to_text \(the function utils.f\)"),
        ({"process_results": Tagged("!function f"), "gen_prefix": "A"}, "process_results .*; gen_prefix"),
        ({"output_type": "generate_until"}, "output_type is generate_until"),
        ({"drop": ("output_type",)}, "output_type is generate_until"),
        ({"description": "About {{subject}}"}, "description is a template"),
        ({"fewshot_delimiter": "\n"}, r"fewshot_delimiter is '\\n', and shots stand"),
        ({"fewshot_config": {"doc_to_text": "x"}}, "fewshot_config.doc_to_text would word shots otherwise"),
        ({"group": "many", "task": ["a"]}, "is a group of tasks"),
        ({"class": Tagged("!function a.B")}, "is a task written in Python"),
        ({"task_list": ["a"]}, "is a list of tasks"),
        ({"drop": ("task",)}, "names no task: other files include it"),
        ({"doc_to_choice": 3, "doc_to_target": [1]}, "doc_to_target.str: .*doc_to_choice.str:"),
        ({"drop": ("doc_to_choice",)}, "doc_to_choice: Field required"),
        ({"drop": ("validation_split",)}, "names no test_split and no validation_split"),
        ({"doc_to_text": "{{text}} {{label}}"}, "doc_to_text reads 'label', which is doc_to_target"),
        ({"include": "task.yaml"}, "includes .*task.yaml' twice, or in a cycle"),
        ({"include": "none.yaml"}, "includes 'none.yaml', and no such file is beside it"),
        ({"include": "x" * 300}, "includes 'x*', and no such file"),
        ({"include": "\0"}, "includes '.*', and no such file"),
        ({"include": "/dev/zero"}, "includes '/dev/zero', and no such file"),
        ({"include": 3}, "include: a file's name is needed"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_and_never_executed(tmp_path, fields, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "utils.py").write_text("raise SystemExit")
    with pytest.raises(TaskError, match=message) as error:
        read(write(tmp_path, **fields))
    assert error.value.hint
    assert "\n" not in error.value.message


def test_a_chain_of_includes_ends(tmp_path):
    for number in range(40):
        write(tmp_path, f"{number}.yaml", include=f"{number + 1}.yaml")
    with pytest.raises(TaskError, match="includes more than 20 files"):
        read(tmp_path / "0.yaml")


@pytest.mark.parametrize(
    ("names", "metric", "remark"),
    [
        (["acc", "acc_norm"], "accuracy", None),
        (["mcc"], "matthews", None),
        (["acc", "f1"], "accuracy", "its metrics f1 are not computed; the table has accuracy"),
    ],
)
def test_metrics(tmp_path, names, metric, remark):
    file = read(write(tmp_path, metric_list=[{"metric": name} for name in names]))
    assert (file.metric, file.remark) == (metric, remark)


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"doc_to_target": "{{['a', 'b'].index(gold)}}"}, "gold"),
        ({"doc_to_target": "{{[text, other].index(gold)}}"}, ""),
        ({"doc_to_target": 0, "doc_to_choice": "{{[right, wrong]}}"}, ""),
        ({"doc_to_choice": "options", "doc_to_target": "answer"}, "answer"),
    ],
)
def test_the_labels_column_is_what_the_target_alone_reads(tmp_path, fields, label):
    assert read(write(tmp_path, **fields)).label.field == label


@pytest.mark.parametrize(
    ("target", "value", "choices", "index"),
    [
        ("label", 1, ("no", "yes"), 1),
        ("label", "yes", ("no", "yes"), 1),
        ("label", "1", ("no", "yes"), 1),
        ("label", "1", ("1", "2"), 0),
        ("{{label}}", "1", ("1", "2"), 1),
        ("1", 0, ("no", "yes"), 1),
        ("label", True, ("no", "yes"), 1),
        ("label", -1, ("no", "yes"), None),
        ("{{'AB'.index(label)}}", "B", ("no", "yes"), 1),
        ("label", 1, "options", 1),
        ("label", 1, "{{options}}", 1),
        ("label", 1, "{{[text, 'it\\'s']}}", 1),
    ],
)
def test_targets_are_indices_or_texts(target, value, choices, index):
    assert template(choices=choices, target=target).label_of(row(value, options=["a", "b"])) == index


def test_white_space_around_the_delimiter_stays():
    example = template(" {{text}}: \n", joint=" ", description="About.\n\n").render(row())
    assert (example.input, example.joint) == ("About.\n\n dull:", " \n ")
    assert template(" {{text}}", description="About.").without_description().render(row()).input == " dull"
    # Jinja itself drops a template's last line break.
    assert template("{{text}}\n", joint="").render(row()).joint == "\n"


def test_an_empty_input_is_one(tmp_path):
    rows = [{"good": "He runs.", "bad": "He run."}, {"good": "We go.", "bad": "We goes."}]
    loaded = task(tmp_path, rows, doc_to_text="", doc_to_target=0, doc_to_choice="{{[good, bad]}}", target_delimiter="")
    example = loaded.templates[0].render(loaded.test[0])
    assert (example.input, example.joint, example.target) == ("", "", "He runs.")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text": "{{texts}}"}, "names 'texts', which is no column in row 1"),
        ({"text": "texts"}, "names 'texts', which is no column in row 1"),
        ({"text": "label"}, "has a number for its input in row 1: one input for each choice"),
        ({"text": "{{label}}"}, "has a number for its input"),
        ({"text": "options"}, "has no text for its input in row 1: list"),
        ({"choices": "text"}, "gives no list of texts for the choices"),
        ({"choices": "{{[" * 60 + "}}"}, "goes beyond its budget"),
        ({"choices": "[" * 5000}, "gives no list of texts"),
        ({"choices": "{{['a', 'a']}}"}, "has the choices"),
        ({"choices": ("a",)}, "has the choices"),
        ({"text": "{{text.x.y}}"}, "fails in row 1: 'str object' has no attribute 'x'"),
        ({"text": "{{text"}, "syntax error"),
        ({"text": "{{''.__class__}}"}, "reads what no template may"),
        ({"text": "{{text | regex_replace('a', 'b')}}"}, "No filter named 'regex_replace'"),
    ],
)
def test_what_a_row_does_not_give_is_one_line(fields, message):
    with pytest.raises(TaskError, match=message):
        template(**fields).render(row(options=["a", "b"]))


def test_several_right_answers_are_refused():
    with pytest.raises(TaskError, match="has several right answers in row 1"):
        template(target="{{[0, 1]}}").label_of(row())
    with pytest.raises(TaskError, match="has several right answers in row 1"):
        template(target="label").label_of(row([0, 1]))


@pytest.mark.parametrize(
    ("target", "message"), [("5", "the target of row 1 is none of .* such rows"), ("1", "all 2 rows have one label, 1")]
)
def test_targets_that_no_column_decides_are_told_without_a_column(tmp_path, target, message):
    with pytest.raises(TaskError, match=message):
        task(tmp_path, doc_to_target=target)


def test_a_constant_input_is_refused(tmp_path):
    with pytest.raises(TaskError, match="names no column before the answer"):
        task(tmp_path, doc_to_text="{{'Good?'}}")
