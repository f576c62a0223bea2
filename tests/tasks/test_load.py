from pathlib import Path

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peftbench import registry
from peftbench.errors import TaskError
from peftbench.spec.cell import TaskSpec
from peftbench.tasks.load import catalogue, expand, load
from tests.row_files import write

TEMPLATE = "{{text}} Sentiment: ||| {{label}}"
ROWS = [{"text": "dull", "label": 0}, {"text": "fine", "label": 1}, {"text": "NA", "label": 1}]


def own(path: Path, **changes) -> TaskSpec:
    spec = {"name": "my", "train": path, "test": path, "template": TEMPLATE, "choices": ("negative", "positive")}
    return TaskSpec(**spec | changes)


def toml(folder: Path, text: str = "", **changes) -> Path:
    """Write a task that is right but for the changes."""
    table = {
        "name": '"toy"',
        "family": '"toys"',
        "description": '"toy"',
        "data": '{train = "rows.jsonl", test = "rows.jsonl"}',
        "label": '{names = ["negative", "positive"]}',
        "templates": '[{name = "one", text = "{{text}} ||| {{choice}}", choices = ["bad", "good"]}]',
    } | changes
    path = folder / "toy.toml"
    path.write_text("\n".join(f"{key} = {value}" for key, value in table.items() if value) + text)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("labels", [(0, 1), ("negative", "positive"), (False, True), ("Negative", "Positive")])
def test_own_rows_load_from_each_kind_of_file_and_label(tmp_path, suffix, labels):
    rows = [row | {"label": labels[row["label"]]} for row in ROWS]
    task = load(own(write(tmp_path / f"rows{suffix}", rows)))
    assert [row.label for row in task.test] == [0, 1, 1]
    assert [row.fields["text"] for row in task.train] == ["dull", "fine", "NA"]
    assert task.templates[0].render(task.test[2]).input == "NA Sentiment:"
    assert (task.name, task.chance, task.templates[0].render(task.test[0]).target) == ("my", 0.5, "negative")


def test_csv_values_stay_as_they_are_written(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes('\ufefftext,label\r\n"a, ""b""\r\nc",0\r\n007,1\r\nnull,1\r\n'.encode())
    assert [row.fields["text"] for row in load(own(path)).test] == ['a, "b"\r\nc', "007", "null"]


def test_the_label_column_is_the_one_that_the_target_names(tmp_path):
    path = write(tmp_path / "rows.csv", [{"text": "x", "mood": "a"}, {"text": "y", "mood": "b"}])
    task = load(own(path, template="{{text}} ||| {{mood}}", choices=("a", "b")))
    assert task.templates[0].render(task.test[1]).target == "b"


@pytest.mark.parametrize("answer", ["{{choice}}", "{{label}}"])
def test_beside_the_answer_a_target_may_name_other_columns(tmp_path, answer):
    path = write(tmp_path / "rows.csv", [row | {"prefix": "It is"} for row in ROWS])
    task = load(own(path, template="{{text}} ||| {{prefix}} " + answer))
    assert task.templates[0].render(task.test[0]).choices == ("It is negative", "It is positive")


def test_a_target_that_names_two_columns_leaves_the_label_open(tmp_path):
    path = write(tmp_path / "rows.csv", [{"text": "x", "mood": "a", "other": "b"}])
    with pytest.raises(TaskError, match="one of them must be the label: mood, other"):
        load(own(path, template="{{text}} ||| {{mood}} {{other}}"))


def test_chance_is_the_mean_of_one_over_the_choices(tmp_path):
    rows = [{"options": ["a", "b"], "label": 1}, {"options": ["a", "b", "c", "d"], "label": "d"}]
    path = write(tmp_path / "rows.jsonl", [row | {"label": str(row["label"])} for row in rows])
    task = load(own(path, template="? ||| {{label}}", choices=("{{options | join('|||')}}",)))
    assert task.chance == (1 / 2 + 1 / 4) / 2
    assert [task.templates[0].render(row).target for row in task.test] == ["b", "d"]


def test_a_toml_reads_files_that_lie_beside_it_and_others_in_their_place(tmp_path):
    write(tmp_path / "rows.jsonl", ROWS)
    path = toml(tmp_path)
    test = write(tmp_path / "other.csv", ROWS[:2])
    task = load(TaskSpec(name=str(path), test=test))
    assert (task.name, len(task.train), len(task.test)) == ("toy", 3, 2)
    assert task.chance == 0.5


def test_the_identity_follows_rows_and_templates_and_not_the_path(tmp_path):
    first, same = write(tmp_path / "a.jsonl", ROWS), write(tmp_path / "b.jsonl", ROWS)
    edited = write(tmp_path / "c.jsonl", [*ROWS[:2], {"text": "edited", "label": 1}])
    identity = load(own(first)).sha256
    assert load(own(same)).sha256 == identity
    edits = [own(edited), own(first, test=edited), own(first, template="{{text}}? ||| {{label}}")]
    assert len({identity, *(load(spec).sha256 for spec in edits)}) == 4


def test_the_identity_follows_the_order_of_the_classes(tmp_path):
    write(tmp_path / "rows.jsonl", [row | {"label": "np"[row["label"]]} for row in ROWS])
    orders = ('{names = ["n", "p"]}', '{names = ["p", "n"]}')
    assert len({load(TaskSpec(name=str(toml(tmp_path, label=order)))).sha256 for order in orders}) == 2


def test_templates_are_selected_by_number(tmp_path):
    task = load(own(write(tmp_path / "rows.csv", ROWS)))
    assert task.select("all") == task.select([0, 0]) == task.templates
    with pytest.raises(TaskError, match="task 'my' has no template 7") as caught:
        task.select([0, 7])
    assert caught.value.hint == "known: 0 (own)"


@pytest.mark.parametrize(
    ("rows", "message", "hint"),
    [
        (
            [{"txt": "x", "label": 0}, {"txt": "y", "label": 1}],
            "'own' names 'text', which is no column in row 1",
            "columns: txt",
        ),
        ([{"text": "x", "mood": 0}], "has no label column 'label'", "columns: text, mood"),
        ([*ROWS, {"text": "x", "label": "maybe"}], "label 'maybe' in row 4 is none of negative, positive", "as a name"),
        ([*ROWS, *2 * [{"text": "x", "label": 2}]], r"label 2 in row 4 .*\(2 such rows\)", "index from 0"),
        (ROWS[1:], "all 2 rows have one label, 1", "two classes"),
        ([{"text": None, "label": 0}, {"text": "x", "label": 1}], "reads null in row 1: text", "what stands for it"),
    ],
)
def test_rows_that_do_not_fit_are_met_with_what_was_found(tmp_path, rows, message, hint):
    path = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(TaskError, match=message) as caught:
        load(own(path))
    assert f"'{path}'" in str(caught.value)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("label", [-1, "-1", "", " ", None])
def test_rows_without_labels_are_predicted_and_not_scored(tmp_path, label):
    train = write(tmp_path / "train.jsonl", ROWS)
    hidden = write(tmp_path / "test.jsonl", [row | {"label": label} for row in ROWS])
    with pytest.raises(TaskError, match=r"test\.jsonl' has no labels: column 'label' is '.*' in each row$") as caught:
        load(own(train, test=hidden))
    assert "`peftbench predict --input FILE`" in str(caught.value.hint)
    with pytest.raises(TaskError, match="has no labels") as caught:
        load(own(hidden, test=train))
    assert caught.value.hint == "labelled rows are needed to learn from"
    some = write(tmp_path / "some.jsonl", [*ROWS, ROWS[0] | {"label": label}])
    with pytest.raises(TaskError, match="in row 4 is none of negative, positive"):
        load(own(train, test=some))


def test_a_test_file_without_the_labels_column_is_for_predictions(tmp_path):
    train = write(tmp_path / "train.jsonl", ROWS)
    hidden = write(tmp_path / "test.jsonl", [{"text": "x", "ID": 50}])
    with pytest.raises(TaskError, match=r"test\.jsonl' has no label column 'label'") as caught:
        load(own(train, test=hidden))
    assert str(caught.value.hint).startswith("columns: text, ID; rows without labels cannot be scored")


def test_minus_one_is_a_label_where_a_class_is_called_so(tmp_path):
    rows = [{"text": "a", "label": -1}, {"text": "b", "label": -1}]
    with pytest.raises(TaskError, match="all 2 rows have one label, -1"):
        load(own(write(tmp_path / "rows.jsonl", rows), choices=("-1", "1")))


def test_rows_are_ones_own_unless_they_came_with_the_package(tmp_path, monkeypatch):
    path = write(tmp_path / "rows.jsonl", ROWS)
    assert load(own(path)).is_own
    assert load(TaskSpec(name=str(toml(tmp_path)))).is_own
    monkeypatch.setattr(registry, "TASK_FOLDERS", (tmp_path,))
    assert [load(TaskSpec(name=name)).is_own for name in ("toy", str(tmp_path / "toy.toml"))] == [False, False]
    assert load(TaskSpec(name="toy", train=path)).is_own
    assert not load(TaskSpec(name="toy", test=path)).is_own


def test_all_faults_of_a_file_come_at_once(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"txt": "x", "label": "odd"}])
    with pytest.raises(TaskError, match=r"label 'odd' in row 1 is none of .*; template 'own' names 'text'"):
        load(own(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", "has no rows"),
        ("rows.csv", "text,label\n", "has no rows"),
        ("rows.jsonl", "\n", "has no rows"),
        ("rows.csv", "text,label\na,b,0\n", "line 2 does not have 2 fields"),
        ("rows.csv", "text,label\na\n", "line 2 does not have 2 fields"),
        ("rows.csv", 'text,label\n"a"b,0\n', "not a readable csv file"),
        ("rows.csv", "text,text\na,0\n", "two columns have one name"),
        ("rows.csv", b"text,label\n\xff,0\n", "not a readable csv file"),
        ("rows.jsonl", '{"text": "a", "label": 0}\n{"text"', "line 2: "),
        ("rows.jsonl", "[1]\n", "line 1 is not an object"),
        ("rows.parquet", "PAR1 and nothing else", "not a readable parquet file"),
        ("rows.txt", "a", "cannot read rows from"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_its_place(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TaskError, match=message) as caught:
        load(own(path))
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(TaskError, match="No such file"):
        load(own(tmp_path / "rows.csv"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choices": None}, "needs --choices too"),
        ({"train": None, "test": None}, "needs --train too"),
        ({"template": None, "name": "rte"}, "choices were given without a template"),
        ({"choices": ("yes", "Yes")}, "--choices 'yes,Yes' has 'Yes' twice"),
        ({"choices": ("yes", " ")}, "--choices 'yes,' has an empty choice"),
        ({"choices": ("yes",)}, "--choices 'yes' is one choice"),
        ({"template": "{{text} ||| {{label}}"}, "syntax error"),
        ({"template": "{{text.__class__}} ||| {{label}}"}, "reads what no template may"),
    ],
)
def test_own_data_that_is_incomplete_or_wrong_is_refused(tmp_path, changes, message):
    with pytest.raises(TaskError, match=message):
        load(own(write(tmp_path / "rows.csv", ROWS), **changes))


def test_a_label_of_five_thousand_digits_is_none_of_the_classes(tmp_path):
    path = write(tmp_path / "rows.csv", [*ROWS, {"text": "x", "label": "9" * 5000}])
    with pytest.raises(TaskError, match="in row 4 is none of negative, positive"):
        load(own(path))


def test_a_template_that_names_no_column_is_refused(tmp_path):
    with pytest.raises(TaskError, match="'own' names no column before the answer") as caught:
        load(own(write(tmp_path / "rows.csv", ROWS), template="{{true}} ||| {{label}}"))
    assert "{{text}}" in str(caught.value.hint)


def test_more_choices_than_a_row_may_have_are_refused(tmp_path):
    names = [f"n{number}" for number in range(501)]
    path = write(tmp_path / "rows.csv", [{"text": name, "label": name} for name in names])
    with pytest.raises(TaskError, match="template 'own' has 501 choices"):
        load(own(path, choices=tuple(names)))


def test_a_comment_that_never_ends_is_a_syntax_error(tmp_path):
    with pytest.raises(TaskError, match="template 'own' has a syntax error: Missing end of comment tag"):
        load(own(write(tmp_path / "rows.csv", ROWS), template="{{text}} {# ||| {{label}}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"version = {'9' * 5000}", "is not valid TOML: a whole number beyond"),
        ("version = 99999999999999999999999", "is not valid TOML: version: a whole number beyond"),
        (f"x = {'[' * 3000}{']' * 3000}", "is not valid TOML: tables and lists in each other, deeper than 32"),
        (f"x = {'[' * 40}{']' * 40}", "is not valid TOML: x.*: tables and lists in each other, deeper than 32"),
        ("x.y." * 2000 + "z = 1", "is not valid TOML"),
    ],
)
def test_a_toml_beyond_the_limits_is_refused(tmp_path, text, message):
    path = tmp_path / "task.toml"
    path.write_text(text)
    with pytest.raises(TaskError, match=message) as caught:
        load(TaskSpec(name=str(path)))
    assert caught.value.hint


def test_of_many_alike_faults_some_are_shown_and_the_others_counted(tmp_path):
    wordings = ", ".join(f'{{name = "{name}", text = "{{{{txt}}}} ||| x", choices = ["p", "q"]}}' for name in "abcde")
    write(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(TaskError, match=r"'a' names 'txt'.*'c' names 'txt'.*; and 2 faults like these$"):
        load(TaskSpec(name=str(toml(tmp_path, templates=f"[{wordings}]"))))


def test_the_hint_shows_which_labels_there_are(tmp_path):
    path = write(tmp_path / "rows.csv", [{"text": "x", "label": "pos"}, {"text": "y", "label": "neg"}])
    with pytest.raises(TaskError, match="label 'pos' in row 1 is none of") as caught:
        load(own(path))
    assert "column 'label' holds 'neg', 'pos'" in str(caught.value.hint)


def test_all_faults_of_a_toml_come_at_once(tmp_path):
    path = toml(tmp_path, name="", chance=2, colour='"red"', data='{train = "x"}')
    with pytest.raises(TaskError) as caught:
        load(TaskSpec(name=str(path)))
    assert all(word in str(caught.value) for word in ("name: Field required", "chance: ", "data.test: ", "colour: "))
    assert "known fields: name, family" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        (
            '[{name = "a", text = "{{x} ||| y", choices = ["p", "q"]}, {name = "b", text = "z", choices = ["p", "q"]}]',
            "task 'toy': template 'a' has a syntax error.*; template 'b' has 0 ",
        ),
        ('[{name = "a", text = "x ||| {{choice}}", choices = ["p", "q", "r"]}]', "has 3 choices for 2 classes"),
        ('[{name = "a", text = "x ||| {{choice}}", choices = "p ||| q ||| r"}]', "has 3 choices for 2 classes"),
    ],
)
def test_templates_that_do_not_fit_are_told_together(tmp_path, templates, message):
    write(tmp_path / "rows.jsonl", ROWS)
    with pytest.raises(TaskError, match=message):
        load(TaskSpec(name=str(toml(tmp_path, templates=templates))))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rtee", "unknown task 'rtee'"),
        ("rows.csv", "'rows.csv' is not a task TOML"),
        ("nowhere/task.toml", "cannot read task 'nowhere/task.toml': No such file"),
        ("lab-all", "'lab-all' is a group of tasks"),
    ],
)
def test_a_name_that_is_no_task_is_told(name, message):
    with pytest.raises(TaskError, match=message) as caught:
        load(TaskSpec(name=name))
    assert caught.value.hint


def test_a_toml_that_is_none_is_told(tmp_path):
    path = toml(tmp_path, text="\nname = twice")
    with pytest.raises(TaskError, match="is not valid TOML"):
        load(TaskSpec(name=str(path)))


def test_a_group_stands_for_its_tasks_and_lab_for_the_default_ones(tmp_path, monkeypatch):
    for name, group, default in [("a", "lab-all", "true"), ("b", "lab-all", "false"), ("c", "lab-train", "false")]:
        path = toml(tmp_path, name=f'"{name}"', group=f'"{group}"', default=default)
        path.rename(tmp_path / f"{name}.toml")
    monkeypatch.setattr(registry, "TASK_FOLDERS", (tmp_path,))
    assert [expand(name) for name in ("lab", "lab-all", "lab-train", "a")] == [["a"], ["a", "b"], ["c"], ["a"]]
    with pytest.raises(TaskError, match="no task is in group 'lab-validation'"):
        expand("lab-validation")
    with pytest.raises(TaskError, match="unknown task 'lb'"):
        expand("lb")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_the_catalogue_counts_rows(tmp_path, monkeypatch, suffix):
    path = write(tmp_path / f"rows{suffix}", ROWS)
    if suffix == ".jsonl":
        path.write_text(path.read_text() + "\n")
    toml(tmp_path, data=f'{{train = "rows{suffix}", test = "rows{suffix}"}}')
    monkeypatch.setattr(registry, "TASK_FOLDERS", (tmp_path,))
    (info,) = catalogue()
    assert (info.name, info.num_train, info.num_test, info.num_templates, info.chance) == ("toy", 3, 3, 1, 0.5)


HUB = {"premise": "It rains.", "hypothesis": "It is wet.", "idx": 0}


@pytest.mark.parametrize(("name", "num_classes"), [("rte", 2), ("cb", 3)])
def test_a_shipped_task_reads_the_hub(monkeypatch, name, num_classes):
    requests = []

    def load_dataset(path, config, *, revision, split):
        requests.append((path, config, revision, split))
        return datasets.Dataset.from_list([HUB | {"label": label} for label in range(num_classes)])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = load(TaskSpec(name=name))
    assert requests == [("aps/super_glue", name, None, "train"), ("aps/super_glue", name, None, "validation")]
    assert [row.label for row in task.test] == list(range(num_classes))
    assert len(task.templates) >= 5
    assert task.chance == pytest.approx(1 / num_classes)


def test_a_revision_on_the_hub_is_asked_for(tmp_path, monkeypatch):
    requests = []

    def load_dataset(path, config, *, revision, split):
        requests.append((path, config, revision, split))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = '{hub = "someone/reviews", revision = "v2", train = "few", test = "many"}'
    load(TaskSpec(name=str(toml(tmp_path, data=data))))
    assert requests == [("someone/reviews", None, "v2", "few"), ("someone/reviews", None, "v2", "many")]


def test_a_revision_of_a_file_is_refused(tmp_path):
    data = '{train = "rows.jsonl", test = "rows.jsonl", revision = "v2"}'
    with pytest.raises(TaskError, match="'config' and 'revision' go with 'hub'"):
        load(TaskSpec(name=str(toml(tmp_path, data=data))))


def test_rows_come_from_one_place(tmp_path):
    data = '{hub = "someone/reviews", by_hand = "by post", train = "few", test = "many"}'
    with pytest.raises(TaskError, match="rows come from the 'hub' or 'by_hand', not both"):
        load(TaskSpec(name=str(toml(tmp_path, data=data))))


def test_without_choices_a_template_has_the_labels_names(tmp_path):
    write(tmp_path / "rows.jsonl", ROWS)
    wording = '[{name = "one", text = "{{text}} ||| {{choice}}"}]'
    assert load(TaskSpec(name=str(toml(tmp_path, templates=wording)))).templates[0].choices == ("negative", "positive")
    with pytest.raises(TaskError, match=r"template 'one' has the choices \[\]"):
        load(TaskSpec(name=str(toml(tmp_path, templates=wording, label="{}"))))


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_out(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("Couldn't reach the Hub\nand more lines")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        TaskError, match=r"cannot load split 'train' of 'aps/super_glue/rte' .*: Couldn't reach the Hub$"
    ) as caught:
        load(TaskSpec(name="rte"))
    assert "--train FILE --test FILE" in str(caught.value.hint)


@pytest.mark.parametrize("info", catalogue(), ids=lambda info: info.name)
def test_each_task_that_comes_along_is_well_formed(info):
    assert registry.task_file(info.name).stem == info.name
    assert info.chance or info.metric != "accuracy"
    # RAFT has one prompt for a task; of written answers a wording matters less than the facts.
    assert info.num_templates >= (2 if info.group == "raft" or info.metric in registry.TEXT_METRICS else 3)
    assert info.group in (None, *registry.TASK_GROUPS)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
TABLE = st.lists(st.tuples(TEXT, st.integers(0, 1)), min_size=2).filter(lambda rows: len({row[1] for row in rows}) == 2)


@given(table=TABLE)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_and_texts_survive_each_format_and_rendering_is_pure(tmp_path, table):
    rows = [{"text": text, "label": label} for text, label in table]
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        task = load(own(write(tmp_path / f"rows{suffix}", rows)))
        assert [(row.fields["text"], row.label) for row in task.test] == table
        template = task.templates[0]
        before = [dict(row.fields) for row in task.test]
        first = [template.render(row) for row in task.test]
        assert [template.render(row) for row in reversed(task.test)] == first[::-1]
        assert [dict(row.fields) for row in task.test] == before


POOL = '{train = "rows.jsonl", test = ""}'


def test_a_task_without_test_rows_leaves_out_those_without_a_label_and_says_so(tmp_path):
    gaps = [*ROWS[:1], {"text": "x", "label": ""}, {"text": "y", "label": None}, {"text": "z"}, *ROWS[1:]]
    path = write(tmp_path / "rows.jsonl", gaps)
    for task in (load(TaskSpec(name=str(toml(tmp_path, data=POOL)))), load(own(path, test=None))):
        assert [(row.id, row.label) for row in task.train] == [(0, 0), (1, 1), (2, 1)]
        assert task.test == ()
        assert task.chance == 0.5
        assert "3 of 6 rows have no label and are left out" in str(task.remark)
    with pytest.raises(TaskError, match="label '' in row 2 is none of negative, positive"):
        load(own(path))


def test_a_task_whose_rows_all_have_a_label_has_nothing_to_remark(tmp_path):
    task = load(own(write(tmp_path / "rows.jsonl", ROWS), test=None))
    assert (len(task.train), task.remark) == (3, None)


def test_a_task_without_any_rows_is_refused(tmp_path):
    path = toml(tmp_path, data='{train = "", test = ""}')
    with pytest.raises(TaskError, match="has no rows to learn from"):
        load(TaskSpec(name=str(path)))
    assert len(load(TaskSpec(name=str(path), train=write(tmp_path / "rows.jsonl", ROWS))).train) == 3


def test_a_label_column_of_any_name_and_classes_in_other_words_than_the_choices(tmp_path):
    rows = [{"text": row["text"], "Which team?": ["a team", "another"][row["label"]]} for row in ROWS]
    spec = own(write(tmp_path / "rows.csv", rows), template="{{text}} ||| {{choice}}", label="Which team?")
    task = load(spec.model_copy(update={"classes": ("a team", "another")}))
    assert [task.templates[0].render(row).target for row in task.test] == ["negative", "positive", "positive"]
    assert task.classes == ("a team", "another")
