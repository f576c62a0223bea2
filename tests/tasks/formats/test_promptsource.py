"""promptsource's files, written here in small; rendered against what the templates say by hand."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.formats.promptsource_template import PROTECTED, PromptsourceTemplate, label_names, most_frequent
from peftbench.tasks.load import load
from peftbench.tasks.task import Row

ROWS = [{"text": "dull", "label": 0}, {"text": "fine", "label": 1}, {"text": "a ||| b", "label": 1}]
PLAIN = "{{text}}\nGood or bad? ||| {{answer_choices[label]}}"


def entry(jinja: str, choices: str | None = "bad ||| good", *, name: str = "one", original: bool = True) -> dict:
    return {"name": name, "jinja": jinja, "answer_choices": choices, "metadata": {"original_task": original}}


def write(folder: Path, *entries: dict, rows: list[dict] = ROWS, **fields) -> TaskSpec:
    """Write a templates.yaml as JSON, which YAML is, and the rows that it is tried on."""
    table = {"dataset": "reviews", "templates": {str(n): each for n, each in enumerate(entries)}} | fields
    (folder / "templates.yaml").write_text(json.dumps(table))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TaskSpec(name=str(folder / "templates.yaml"), train=folder / "rows.jsonl", test=folder / "rows.jsonl")


def template(text: str, choices: str = "bad ||| good", label: str = "label") -> PromptsourceTemplate:
    return PromptsourceTemplate("one", 0, text, choices, label)


def row(label: int = 0, **fields) -> Row:
    return Row(0, {"text": "dull", "label": label} | fields, label)


def test_ranked_templates_of_the_own_task_are_numbered_and_the_others_counted(tmp_path):
    others = [entry(PLAIN, None), entry(PLAIN, original=False)]
    task = load(write(tmp_path, entry(PLAIN, name="a"), *others, entry(PLAIN, name="b"), subset=2016))
    assert (task.name, task.family) == ("reviews/2016", "promptsource")
    assert [(each.index, each.name) for each in task.templates] == [(0, "a"), (1, "b")]
    assert task.remark == (
        "reviews/2016: 2 of 4 templates of the file are left out: 1 without answer choices, and 1 of another task than "
        "the data set's"
    )
    example = task.templates[0].render(task.test[1])
    assert (example.input, example.choices, example.label) == ("fine\nGood or bad?", ("bad", "good"), 1)
    assert task.chance == 0.5


def test_a_template_that_does_not_fit_is_left_out_with_its_reason(tmp_path):
    wrong = {
        "tells the label in its input": "{{text}} {{label}} ||| {{answer_choices[label]}}",
        "ends with 'good' for class 0": "{{text}} ||| {{answer_choices[1 - label]}}",
        "draws by chance: it has the filter 'choice'": "{% if 1 %}{{['a', 'b'] | choice}}{% endif %}" + PLAIN,
        "syntax error": "{{text ||| {{answer_choices[label]}}",
        "names 'texts', which is no column": "{{texts}} ||| {{answer_choices[label]}}",
        "renders to 1 parts": "{{text}}",
        "reads what no template may: access to attribute 'append'": "{% set x = [] %}{{x.append(1)}}" + PLAIN,
        "makes nothing of any of 6 rows": "{% if text == 'x' %}" + PLAIN + "{% endif %}",
        "empty input": "||| {{answer_choices[label]}}{{text and ''}}",
        "names no column before the answer": "{{'x'}} ||| {{answer_choices[label]}}",
        "a whole number beyond": "{{" + "9" * 5000 + "}}" + PLAIN,
        "goes beyond its budget": "{% for i in range(99999) %}{{i}}{% endfor %}" + PLAIN,
    }
    task = load(write(tmp_path, entry(PLAIN), *(entry(text, name=reason) for reason, text in wrong.items())))
    assert [each.index for each in task.templates] == [0]
    assert list(task.left_out) == list(range(1, 1 + len(wrong)))
    for reason, said in zip(wrong, task.left_out.values(), strict=True):
        assert reason in said.replace(f"'{reason}'", ""), said
    assert "12 of 13 templates cannot be used" in task.remark
    with pytest.raises(TaskError, match="tells the label in its input") as error:
        task.select([1])
    assert error.value.hint == "templates that can be used: 0"


def test_where_none_fits_the_reasons_are_the_error(tmp_path):
    with pytest.raises(TaskError, match=r"template 'one' tells the label in its input in row 1") as error:
        load(write(tmp_path, entry("{{text}} {{label}} ||| {{answer_choices[label]}}")))
    assert error.value.hint == "it reads otherwise for class 0 than for another one"


@pytest.mark.parametrize(
    ("jinja", "choices", "fields"),
    [
        ("{{text}} ||| {{answer_choices[label]}}", "a|||b", "0 1"),
        ("{{text}} ||| {{answer_choices[label | int]}}", "a|||b", ["0", "1"]),
        ("{{text}} ||| {{answer_choices[label - 1]}}", "a|||b", "1 2"),
        ("{{text}} ||| {% if label == '1' %}a{% else %}b{% endif %}", "a|||b", ["1", "2"]),
        ("{{text}} ||| {{answer_choices['AB'.index(label)]}}", "a|||b", ["A", "B"]),
        ("{{text}} ||| {{answer_choices[label]}}", "a|||b", ["a", "B"]),
        ("{{text}} ||| {{answer_choices[label]}}", "a|||b", [False, True]),
    ],
)
def test_classes_are_found_however_the_column_writes_them(tmp_path, jinja, choices, fields):
    values = [int(value) for value in fields.split()] if isinstance(fields, str) else fields
    rows = [{"text": "x", "label": values[1]}, {"text": "y", "label": values[0]}]
    task = load(write(tmp_path, entry(jinja, choices), rows=rows))
    assert [each.label for each in task.test] == [1, 0]
    assert [task.templates[0].render(each).target for each in task.test] == ["b", "a"]


def test_a_hidden_label_is_refused_not_taken_for_the_last_class(tmp_path):
    with pytest.raises(TaskError, match="label -1 in row 4 is none of"):
        load(write(tmp_path, entry(PLAIN), rows=[*ROWS, {"text": "x", "label": -1}]))


def test_the_labels_column_is_the_one_that_targets_alone_read(tmp_path):
    rows = [{"sentence": "x", "option1": "a", "option2": "b", "answer": value} for value in ("1", "2")]
    task = load(
        write(
            tmp_path,
            entry("{{sentence}} ||| {% if answer == '1' %}{{option1}}{% else %}{{option2}}{% endif %}", OPTIONS),
            entry("{{sentence}} ||| {{answer_choices[answer | int - 1]}}", OPTIONS),
            rows=rows,
        )
    )
    assert {each.label for each in task.templates} == {"answer"}
    assert len(task.templates) == 2
    assert [each.label for each in task.test] == [0, 1]


OPTIONS = "{{option1}} ||| {{option2}}"


def test_rows_that_render_to_nothing_are_skipped_under_that_template(tmp_path):
    cause = "{% if kind == 'cause' %}{{text}} because? ||| {{answer_choices[label]}}{% endif %}"
    rows = [fields | {"kind": kind} for fields, kind in zip(ROWS, ("cause", "effect", "cause"), strict=True)]
    task = load(write(tmp_path, entry(PLAIN), entry(cause), rows=rows))
    assert [[each.reads(one) for one in task.test] for each in task.templates] == [[True] * 3, [True, False, True]]
    assert task.left_out == {}
    with pytest.raises(TaskError, match="'one' renders to nothing in row 2"):
        task.templates[1].render(task.test[1])


def test_a_separator_in_a_rows_text_is_text(tmp_path):
    task = load(write(tmp_path, entry(PLAIN)))
    assert task.templates[0].render(task.test[2]).input == "a ||| b\nGood or bad?"


@given(st.text(st.sampled_from("|a{% }\n"), min_size=1, max_size=12))
def test_any_text_of_a_row_stays_what_it_is(text):
    example = template("x {{text}} x ||| {{answer_choices[label]}}").render(row(text=text))
    assert (example.input, example.choices) == (f"x {text} x", ("bad", "good"))
    assert PROTECTED not in example.input


def test_what_a_row_lacks_is_empty_and_null_is_none_as_in_jinja():
    example = template("{{text}}{{row.none}}[{{fields.x}}] {{empty}} ||| {{answer_choices[label]}}").render(
        row(fields={}, empty=None, row={})
    )
    assert example.input == "dull[] None"


def test_its_own_filters_and_zip():
    text = (
        "{{[1, 2, 2] | most_frequent | join(' ')}} {{text | highlight}} "
        "{% for a, b in zip('xy', [1, 2]) %}{{a}}{{b}}{% endfor %} ||| {{answer_choices[label]}}"
    )
    assert template(text).render(row()).input == "2 <span style='color: #F08080'>dull</span> x1y2"
    assert most_frequent([]) is None


@pytest.mark.parametrize(
    ("jinja", "choices", "names"),
    [
        (PLAIN, "a|||b", {"label"}),
        ("{% if kind %}{{text}} ||| {{answer_choices[label]}}{% endif %}", "a|||b", {"label"}),
        ("{{a}} ||| {% if answer %}{{b}}{% endif %}", "{{b}}|||{{a}}", {"answer"}),
        ("{{a}} ||| {{a}}", "a|||b", set()),
        ("{% set x = ['p', 'q'] %}{{a}} ||| {{x[gold]}}", "p|||q", {"gold"}),
    ],
)
def test_the_names_behind_the_separator_alone(jinja, choices, names):
    assert label_names(jinja, choices) == names


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"templates": 3}, "templates: Input should be a valid dictionary"),
        ({"dataset": ["x"]}, "dataset: Input should be a valid string"),
        ({"templates": {"a": {"name": "x"}}}, r"templates\.a\.jinja: Field required"),
        ({"templates": {"a": entry(PLAIN, None)}}, "none of 1 templates has answer choices"),
        (
            {"dataset": "x", "templates": {"a": entry(PLAIN, "{{label}}|||x")}},
            "reads the label 'label' before the answer",
        ),
    ],
)
def test_a_faulty_file_is_one_line(tmp_path, fields, message):
    with pytest.raises(TaskError, match=message):
        load(write(tmp_path, entry(PLAIN), **fields))


def test_the_record_knows_the_kind_of_a_template(tmp_path):
    spec = write(tmp_path, entry(PLAIN))
    assert load(spec).templates[0].more == {"kind": "promptsource"}
    (tmp_path / "task.toml").write_text(
        'name = "reviews"\nfamily = "f"\ndescription = "d"\ndata = {train = "rows.jsonl", test = "rows.jsonl"}\n'
        f'[[templates]]\nname = "one"\nkind = "promptsource"\ntext = {json.dumps(PLAIN)}\nchoices = "bad ||| good"\n'
    )
    same = load(TaskSpec(name=str(tmp_path / "task.toml")))
    assert same.sha256 == load(spec).sha256
