"""One file of rows: what is assumed of it, what is refused, and that the task is the same one from its TOML."""

import dataclasses
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from peftbench.errors import TaskError
from peftbench.flow.plan import plans
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.tasks import own
from peftbench.tasks.assumed import WIDTH
from peftbench.tasks.load import load
from peftbench.tasks.one_file import assume
from tests import real
from tests.row_files import write

MESSAGES = Path(__file__).parents[2] / "examples" / "customer-messages" / "train.csv"
NEWS = ("my parcel is late", "I cannot log in", "the lamp is broken", "where is my refund", "wrong size", "thank you")


def table(num_rows: int = 12, **columns) -> list[dict]:
    """Make rows with a text, a label of two classes, and further columns: a function of the number, or a value."""
    columns = {
        "text": lambda number: f"{NEWS[number % 6]}, {number}",
        "label": lambda number: "ab"[number % 2],
    } | columns
    return [
        {name: value(number) if callable(value) else value for name, value in columns.items() if value is not None}
        for number in range(num_rows)
    ]


def from_toml(assumed, folder: Path):
    path = folder / "saved" / "task.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(assumed.to_toml(path), encoding="utf-8")
    return load(TaskSpec(name=str(path)))


def assert_same(task, other):
    assert dataclasses.replace(task, templates=()) == dataclasses.replace(other, templates=())
    (wording,), (template,) = task.templates, other.templates
    assert (wording.name, wording.text, wording.choices) == (template.name, template.text, template.choices)


def refused(path: Path, **options) -> TaskError:
    with pytest.raises(TaskError) as caught:
        assume(path, **options)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500
    assert caught.value.hint
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_each_kind_of_file_gives_the_same_task(tmp_path, suffix):
    assumed = assume(write(tmp_path / f"mail{suffix}", table()))
    task = load(assumed.spec)
    assert (task.name, task.classes, task.test, assumed.text) == ("mail", ("a", "b"), (), ("text",))
    assert dict(assumed.counts) == {"a": 6, "b": 6}
    shown = task.templates[0].render(task.train[1])
    assert (shown.input, shown.target) == ("Text: I cannot log in, 1\nLabel:", "b")
    assert assumed.remarks == ()


def test_the_three_lines_of_the_example():
    assert assume(MESSAGES).lines == (
        "Label: label, 4 classes in 60 rows, 15 of each: account, delivery, payment, product [--label]",
        "Text: text [--text]",
        "Prompt (/ is a new line): Text: {{text}} / Label: ||| {{label}} [--template, --choices]",
    )


LEFT_OUT = {
    "ids": ("ticket_id", lambda number: f"T-{number}x"),
    "numbers": ("price", lambda number: f"{number}.50 €"),
    "dates": ("sent", lambda number: f"{number + 1:02}.05.2024 12:{number:02}"),
    "addresses": ("link", lambda number: f"https://shop.example/{number}"),
    "few values": ("channel", lambda number: ("mail", "phone", "chat")[number % 3]),
    "yes or no": ("urgent", lambda number: str(number % 3 == 0)),
    "always the same": ("shop", "Berlin"),
    "empty": ("note", ""),
    "the label again": ("team", lambda number: ("red", "blue")[number % 2]),
    "another label": ("label_fine", lambda number: f"kind {number % 13}"),
}


@pytest.mark.parametrize("reason", LEFT_OUT)
def test_what_is_no_text_is_left_out_and_named_with_its_reason(tmp_path, reason):
    name, value = LEFT_OUT[reason]
    assumed = assume(write(tmp_path / "rows.csv", table(24, **{name: value})))
    assert assumed.lines[1] == f"Text: text; left out: {name} ({reason}) [--text]"
    assert assume(tmp_path / "rows.csv", text=[name, "text"]).text == (name, "text")


def test_lists_are_left_out(tmp_path):
    assumed = assume(write(tmp_path / "rows.jsonl", table(words=lambda number: ["a", str(number)])))
    assert "words (lists)" in assumed.lines[1]


def test_a_finer_label_is_no_text_and_a_repeated_word_is_one(tmp_path):
    """As of TREC: "NUM:date" is always a "NUM"; a word that stands with either label tells nothing."""
    draw = random.Random(0)
    rows = [
        {
            "text": f"{draw.choice(NEWS)} {number}",
            "fine": f"{'ab'[number % 2]}:{draw.randrange(12)}",
            "label": number % 2,
        }
        for number in range(80)
    ]
    assert "fine (tells the label)" in assume(write(tmp_path / "rows.jsonl", rows)).lines[1]
    rows = [row | {"fine": f"w{draw.randrange(24):x}ord"} for row in rows]
    assert assume(write(tmp_path / "rows.jsonl", rows)).text == ("text", "fine")


@pytest.mark.parametrize("name", ["Label", "CLASS", "category", "Intent", "sentiment", "target", "y", "coarse_label"])
def test_a_label_is_known_by_its_name_whatever_else_has_few_values(tmp_path, name):
    rows = table(label=None, channel=lambda number: number % 3, **{name: lambda number: "ab"[number % 2]})
    assert assume(write(tmp_path / "rows.csv", rows)).spec.label == name


def test_a_label_without_such_a_name_is_the_one_column_of_few_values(tmp_path):
    rows = table(
        label=None, team=lambda number: "ab"[number % 2], id=lambda number: number, age=lambda number: 20 + number
    )
    assert assume(write(tmp_path / "rows.csv", rows)).spec.label == "team"


def test_a_code_and_its_name_are_one_label_shown_by_its_name(tmp_path):
    rows = table(label=lambda number: number % 2, label_text=lambda number: ("bad", "good")[number % 2])
    assumed = assume(write(tmp_path / "rows.jsonl", rows))
    assert (assumed.spec.label, tuple(assumed.counts)) == ("label_text", ("bad", "good"))
    assert "label (the label again)" in assumed.lines[1]
    assert assume(tmp_path / "rows.jsonl", label="label").spec.label == "label"


CLASSES = {
    "stars": ([3, 1, 5, 2, 4], ("1", "2", "3", "4", "5")),
    "stars as text": (["3", "1", "5", "2", "4"], ("1", "2", "3", "4", "5")),
    "whole floats": ([3.0, 1.0, 2.0], ("1", "2", "3")),
    "floats in text": (["3.0", "1.0", "2.0"], ("1", "2", "3")),
    "from 0": ([1, 0], ("0", "1")),
    "signs": ([-1, 1, 0], ("-1", "0", "1")),
    "halves": ([1.5, 1.0, 0.5], ("0.5", "1", "1.5")),
    "ten after nine": (["10", "9", "100"], ("9", "10", "100")),
    "booleans": ([True, False], ("False", "True")),
    "numbered": (["class 10", "class 9"], ("class 9", "class 10")),
    "words": (["b", "A", "c"], ("A", "b", "c")),
    "spellings": (["Spam", "spam", "spam", "no_spam", "no spam", "no spam"], ("no spam", "spam")),
    "none of them": (["None", "some"], ("None", "some")),
    "yes": (["yes", "no", "true"], ("no", "true", "yes")),
    "controls": (["\x7f b", 'a"\\b', "a\tb", "a\rb"], ("a\tb", "a\rb", 'a"\\b', "\x7f b")),
    "Jinja": (["{{x}}", "{% if %}", "a|||b", "{#"], ("a|||b", "{#", "{% if %}", "{{x}}")),
}


def test_a_column_that_happens_to_part_the_rows_as_the_label_does_takes_not_its_place(tmp_path):
    rows = table(label=lambda number: number % 2, question=lambda number: ("who is it?", "where is it?")[number % 2])
    assumed = assume(write(tmp_path / "rows.jsonl", rows))
    assert (assumed.spec.label, assumed.text) == ("label", ("text",))
    assert "question (the label again)" in assumed.lines[1]
    rows = [{"text": row["text"], "code": row["label"], "team": "xy"[row["label"]]} for row in rows]
    assert assume(write(tmp_path / "rows.jsonl", rows)).spec.label == "team"


@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_sorted_and_each_row_has_its_own(tmp_path, name):
    values, names = CLASSES[name]
    rows = table(4 * len(values), label=lambda number: values[number % len(values)])
    assumed = assume(write(tmp_path / "rows.jsonl", rows))
    for task in (load(assumed.spec), from_toml(assumed, tmp_path)):
        assert task.classes == names
        assert tuple(assumed.counts) == names
        assert Counter(row.label for row in task.train) == dict(enumerate(assumed.counts.values()))
        by_value = {str(row.fields["label"]): task.templates[0].render(row).target for row in task.train}
        assert set(by_value.values()) == set(names)
        assert all(target.casefold() in (value.casefold(), value.replace("_", " ").casefold(), value.removesuffix(".0"))
                   for value, target in by_value.items())  # fmt: skip


def test_a_label_of_five_stars_is_its_own_name_and_not_the_next(tmp_path):
    task = load(assume(write(tmp_path / "rows.csv", table(20, stars=lambda number: 1 + number % 5, label=None))).spec)
    assert all(task.templates[0].render(row).target == row.fields["stars"] for row in task.train)


# Names of columns that are no variables of Jinja, mean something else there, or break out of an expression.
HOSTILE = [
    "Tweet text", "a-b", "größe", "Größe (cm)", "not", "true", "None", "row", "choice", "choices", "self", "loop", "in",
    "items", "get", "{{x}}", "{% raw %}", "%}", "}}", "{#", "|||", 'a"b', "a'b", "a\\", "\\n", "a\nb", "a|b", "1st",
    "_", "", "ﬁ", " ", "label x", "default", "namespace", "\x7f", "🎈", "a.b", "x]", "caller", "range", "super",
]  # fmt: skip


def is_labelled(names: list[str]) -> bool:
    """Whether the last of them, the label's, has a name."""
    return bool(names[-1])


TEXTS = [
    "a\rb",
    "{{7*7}}",
    "{% for %}",
    "|||",
    "a\nb",
    '"',
    "{#",
    "\\",
    "ä🎈",
    "row",
    "{{label}}",
    "\x7f",
    "{{row['label']}}",
]


@given(
    names=st.lists(st.sampled_from(HOSTILE) | st.text(max_size=6), min_size=3, max_size=3, unique=True).filter(
        is_labelled
    ),
    cells=st.lists(st.sampled_from(TEXTS) | st.text(min_size=1), min_size=8, max_size=8),
)
@example(names=["row", "Tweet text", "choices"], cells=TEXTS[:8])
@example(names=["|||", 'a"}}\\', "label x"], cells=TEXTS[:8])
@example(names=["Tweet text", "{{x}}", "row"], cells=TEXTS[5:])
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_name_of_a_column_and_no_text_in_a_row_means_anything_to_a_template(tmp_path, names, cells):
    first, second, label = names
    rows = [{first: f"<{cell}>", second: f"{number}", label: f"{cell} {'yn'[number % 2]}"} for number, cell in
            enumerate(cell for cell in dict.fromkeys(map(str.strip, cells)) for _ in range(4))]  # fmt: skip
    rows = [row | {label: f"{rows[0][first]}{'yn'[number % 2]}".strip()} for number, row in enumerate(rows)]
    if any("\ud800" <= mark <= "\udfff" for mark in json.dumps(rows, ensure_ascii=False)):
        return
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assumed = assume(path, label=label, text=[first, second])
    task = load(assumed.spec)
    assert len(assumed.lines) == 3
    assert all(len(line) <= WIDTH and "\n" not in line for line in assumed.lines)
    for row in task.train:
        shown = task.templates[0].render(row)
        assert f": <{row.fields[first].strip()[1:]}" in shown.input
        assert f": {row.fields[second]}\n" in shown.input
        assert shown.target == row.fields[label]
    assert_same(from_toml(assumed, tmp_path), task)


def test_rows_without_a_label_are_left_out_and_one_without_a_text_is_empty(tmp_path):
    gaps = [{"text": "a", "label": ""}, {"text": "b", "label": None}, {"text": None, "label": "a"}, {"label": "b"}]
    rows = table() + gaps
    assumed = assume(write(tmp_path / "rows.jsonl", rows))
    task = load(assumed.spec)
    assert [row.fields.get("text") for row in task.train][-2:] == [None, None]
    assert task.templates[0].render(task.train[-1]).input == "Text: \nLabel:"
    assert [row.id for row in task.train] == list(range(14))
    assert "rows: 2 of 16 rows have no label and are left out; `peftbench predict` answers such rows" in assumed.remarks
    assert task.remark == assumed.remarks[0]
    assert "rows: 2 of 14 rows have no text, row 15 first" in assumed.remarks
    assert_same(from_toml(assumed, tmp_path), task)


def test_copies_are_counted_and_those_with_another_label_named(tmp_path):
    rows = (
        table()
        + [{"text": "same", "label": "a"}] * 3
        + [{"text": " same", "label": "b"}, {"text": "same", "label": "b"}]
    )
    assumed = assume(write(tmp_path / "rows.jsonl", rows))
    assert assumed.remarks == (
        "rows: 5 of 17 rows have the text of another row and not its label, such as rows 13 ('a') and 16 ('b')",
        "rows: 3 of 17 rows repeat the text and the label of another row, such as row 14",
    )


def test_classes_that_are_numbers_may_have_words(tmp_path):
    path = write(tmp_path / "rows.csv", table(label=lambda number: number % 2))
    assert assume(path).remarks == (
        "rows: classes are numbers: --choices WORD,WORD puts words for models in the place of 0, 1",
    )
    assumed = assume(path, choices=["bad", "good"])
    task = load(assumed.spec)
    assert assumed.remarks == ()
    assert [task.templates[0].render(row).target for row in task.train[:2]] == ["bad", "good"]
    assert assumed.lines[2].endswith("||| {{label}}; bad, good [--template, --choices]")
    assert_same(from_toml(assumed, tmp_path), task)


@pytest.mark.parametrize("target", ["{{choice}}", "{{label}}", "it is {{label}}"])
def test_a_template_says_what_is_read(tmp_path, target):
    path = write(tmp_path / "rows.csv", table(**{"Sent on": "Monday"}))
    assumed = assume(path, template='{{text}}, {{row["Sent on"]}}? ||| ' + target)
    task = load(assumed.spec)
    assert assumed.text == ("text", "Sent on")
    assert task.templates[0].render(task.train[0]).input == "my parcel is late, 0, Monday?"
    assert_same(from_toml(assumed, tmp_path), task)


def test_columns_of_one_letter_are_told_apart_and_a_single_one_is_the_text(tmp_path):
    rows = [{"x": row["text"], "y": row["label"]} for row in table()]
    assert assume(write(tmp_path / "rows.csv", rows)).spec.template == "Text: {{x}}\nLabel: ||| {{y}}"
    rows = [row | {"z": f"other {row['x']}"} for row in rows]
    assert assume(write(tmp_path / "rows.csv", rows)).spec.template == "x: {{x}}\nz: {{z}}\nLabel: ||| {{y}}"


def test_the_column_that_a_templates_target_names_is_the_label(tmp_path):
    path = write(tmp_path / "rows.csv", table(team=lambda number: "xyz"[number % 3]))
    assert assume(path, template="{{text}} ||| {{team}}").spec.label == "team"


@pytest.mark.parametrize("name", ["label", "Stimmung", "größe", "Which team?", "choice", "not"])
def test_the_plain_template_alone_says_which_column_is_the_label(tmp_path, name):
    """Where a template can name it: its line in the assumptions is what `icl --template` takes."""
    rows = [{"text": row["text"], name: row["label"]} for row in table()]
    assumed = assume(write(tmp_path / "rows.csv", rows), label=name)
    assert load(assumed.spec).templates[0].label == name
    assert (own.target_column(str(assumed.spec.template)) == name) == (name in ("label", "Stimmung", "größe"))


def few(number: int) -> str:
    return "ab"[number % 2]


FAULTS = {
    "two candidates": (
        table(label=None, team=few, shop=lambda n: "xyz"[n % 3]),
        "2 columns may be the label: team, shop",
    ),
    "two names": (
        table(label=None, target=few, topic=lambda n: "xyz"[n % 3]),
        "2 columns may be the label: target, topic",
    ),
    "no candidate": (table(label=None), "no column is called label, class or the like, or has few values"),
    "one class": (table(label="a"), "all 12 rows have one label, 'a'"),
    "one class by spelling": (table(label=lambda n: "aA"[n % 2]), "all 12 rows have one label, 'a'"),
    "regression": (
        table(400, label=lambda n: n % 200),
        "200 different ones in 400 rows: to estimate them is a regression",
    ),
    "a class of one row": (
        table(label=lambda n: "typo" if n == 7 else few(n)),
        "class 'typo' (row 8) has one row; a class needs one to learn from and one to be tested on",
    ),
    "texts as labels": (table(label=lambda n: f"answer {n}"), "column 'label' has 12 different values in 12 rows"),
    "lists as labels": (table(label=lambda n: [n % 2]), "column 'label' holds lists"),
    "no labels": ([*table(label=None), {"text": "x", "label": "a"}], "column 'label' has a label in 1 row, and 4 are"),
    "3 rows": (table(3), "3 rows, and 4 are the least: two classes, and of each a row to learn from and a row"),
    "equal texts": (table(text="hello"), "all texts are equal: column 'text' is 'hello' in each row"),
    "no name": (table(label=None, **{"": few}), "the label's column has no name"),
    "no text": (table(text=None, id=lambda n: n), "no column holds texts: id (ids)"),
    "nothing but labels": (table(text=None), "no column holds texts beside the label"),
    "two faults": (
        table(text=None, id=lambda n: n, label="a"),
        "all 12 rows have one label, 'a'; no column holds texts",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_rows_that_make_no_task_are_refused_in_a_line(tmp_path, name):
    rows, message = FAULTS[name]
    assert message in refused(write(tmp_path / "rows.jsonl", rows)).message


def test_codes_of_many_classes_are_classes_where_there_are_rows_of_each(tmp_path):
    """As of banking77, whose labels are 0 to 76; ages from 18 to 80 are none."""
    path = write(tmp_path / "rows.jsonl", table(400, label=lambda number: number % 77))
    assert len(assume(path).counts) == 77
    assert "regression" in refused(write(path, table(400, label=lambda number: 18 + number % 63))).message


def test_four_rows_are_enough(tmp_path):
    assert dict(assume(write(tmp_path / "rows.csv", table(4))).counts) == {"a": 2, "b": 2}


OPTIONS = {
    "label": ({"label": "Lable"}, "--label 'Lable' is no column", "did you mean 'label'? columns: text, label"),
    "text": ({"text": ["txt", "b"]}, "--text 'txt' is no column; --text 'b' is no column", "did you mean 'text'?"),
    "both": ({"text": ["label"]}, "--text 'label' is the label", "--label COLUMN"),
    "target": (
        {"template": "{{text}} ||| {{labl}}"},
        "the template's target, 'labl' is no column",
        "did you mean 'label'? columns: text, label; {{choice}} is the answer",
    ),
    "target and label": (
        {"template": "{{text}} ||| {{label}}", "label": "text"},
        "--label is 'text', and the template's target names 'label'",
        "{{choice}}",
    ),
    "text and template": (
        {"template": "{{text}} ||| {{choice}}", "text": ["text"]},
        "both say what is read",
        "leave out",
    ),
    "choices": (
        {"choices": ["x", "y", "z"]},
        "--choices has 3, and column 'label' has 2 classes",
        "in this order: a, b",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_that_do_not_fit_are_refused(tmp_path, name):
    options, message, hint = OPTIONS[name]
    error = refused(write(tmp_path / "rows.csv", table()), **options)
    assert message in error.message
    assert hint in str(error.hint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "{{text}}"}, r"template 'own' has 0 '\|\|\|'"),
        ({"template": "{{text} ||| {{choice}}"}, "syntax error"),
        ({"template": "{{7}} ||| {{choice}}"}, "names no column before the answer"),
        ({"choices": ["yes", "Yes"]}, "has 'Yes' twice"),
    ],
)
def test_templates_and_choices_are_refused_as_everywhere(tmp_path, options, message):
    with pytest.raises(TaskError, match=message):
        assume(write(tmp_path / "rows.csv", table()), **options)


def test_whatever_columns_are_called_a_fault_is_one_line(tmp_path):
    rows = table(label=None, **{"a\nb": few, "c\u2028d": lambda number: "xyz"[number % 3]})
    path = write(tmp_path / "rows.jsonl", rows)
    assert "2 columns may be the label: a b, c d" in refused(path).message
    rows = [{"text": row["text"], "e\nf": number} for number, row in enumerate(rows)]
    assert "column 'e f' has 12 different values" in refused(write(path, rows), label="e\nf").message


@pytest.mark.parametrize("content", ["", "text,label\n", "\n"])
def test_an_empty_file_is_refused(tmp_path, content):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    assert "has no rows" in refused(path).message


def test_columns_that_are_separated_otherwise_are_asked_about(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text;label\n" + "".join(f"row {number};{few(number)}\n" for number in range(8)))
    assert "has ';' in its name" in str(refused(path).hint)


def test_a_long_list_of_classes_is_cut(tmp_path):
    path = write(
        tmp_path / "rows.csv", table(300, label=lambda number: f"card arrival number {min(number, 299 - number) // 2}")
    )
    (line, *_) = assume(path).lines
    assert line.startswith("Label: label, 75 classes in 300 rows, 4 of each: 'card arrival number 0' and 74 more")
    assert len(line) <= WIDTH


def test_a_saved_task_lies_anywhere_and_its_rows_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "rows.csv", table())
    assumed = assume(Path("rows.csv"))
    assert_same(from_toml(assumed, tmp_path), load(assumed.spec))
    assert 'train = "../rows.csv"' in (tmp_path / "saved" / "task.toml").read_text()


def test_the_task_is_planned_as_others_once_rows_are_given_to_test_on(tmp_path):
    assumed = assume(write(tmp_path / "rows.csv", table()))
    spec = assumed.spec.model_copy(update={"test": tmp_path / "rows.csv"})
    (plan,) = plans([Cell(learner="icl", model="mini-gpt", task=spec, shots=4)])
    assert plan.task.train == load(assumed.spec).train


RAFT = {
    "ade_corpus_v2": ("Label", ("Sentence",)),
    "neurips_impact_statement_risks": ("Label", ("Paper title", "Impact statement")),
    "semiconductor_org_types": ("Label", ("Paper title", "Organization name")),
    "tai_safety_research": ("Label", ("Title", "Abstract Note", "Author", "Publication Title")),
    "twitter_complaints": ("Label", ("Tweet text",)),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", RAFT)
def test_real_files_of_fifty_rows(tmp_path, name):
    assumed = assume(real.folder() / "raft" / name / "train.csv")
    assert (assumed.spec.label, assumed.text) == RAFT[name]
    assert sum(assumed.counts.values()) == len(load(assumed.spec).train) == 50
    assert_same(from_toml(assumed, tmp_path), load(assumed.spec))


@pytest.mark.real_data
def test_real_files_whose_columns_tell_the_label():
    trec, winogrande = (assume(real.folder() / name) for name in ("trec/test.jsonl", "winogrande/test.jsonl"))
    assert (trec.text, len(trec.counts)) == (("text",), 6)
    assert "fine (tells the label)" in trec.lines[1]
    assert winogrande.text == ("sentence", "option1", "option2")
    assert "answer (the label again)" in winogrande.lines[1]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raft/banking_77/train.csv", "37 different values in 50 rows"),
        ("raft/systematic_review_inclusion/train.csv", "class 'included' (row 16) has one row"),
        ("squad_xquad_en/test.jsonl", "no column is called label"),
        ("wsc/train.jsonl", "all 32 rows have one label, '1'"),
    ],
)
def test_real_files_of_which_no_task_can_be_made(name, message):
    assert message in refused(real.folder() / name).message
