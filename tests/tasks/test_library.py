"""The tasks that come along as TOMLs: all of them on made-up rows, and on real ones where those are at hand."""

import json
import re
from pathlib import Path

import pytest

from peftbench import registry
from peftbench.cli.app import main
from peftbench.spec.cell import TaskSpec
from peftbench.tasks import schema
from peftbench.tasks.load import load
from peftbench.tasks.template import Template
from tests import real
from tests.tasks.test_load import write

FILES = [schema.read(path) for path in registry.task_files().values() if path.parent == registry.TASK_FOLDERS[0]]
TEXTS = {file.name: file for file in FILES if file.answer == "text"}
LIBRARY = {file.name: file for file in FILES if file.group != "raft" and file.name not in TEXTS}  # raft: test_raft.py
NUM_CLASSES = {name: len(file.label.names or ()) for name, file in LIBRARY.items()}
SPECIAL = {"endings": ["p", "q", "r", "s"], "span2_index": 1, "sentence": "so the _ fell.", "question": "cause"}
"""Columns that are no text of any words."""


def rows(name: str) -> list[dict]:
    """Make a row of each class, whose columns hold their own names."""
    label = LIBRARY[name].label
    wordings = LIBRARY[name].templates
    templates = [Template(w.name, 0, w.text, w.choices or label.names, label.field) for w in wordings]
    columns = {column for template in templates for column in template.absent({})}
    fields = {column: SPECIAL.get(column, f"a {column} b") for column in columns}
    return [fields | {label.field: text} for text in label.names]


def written(name: str, folder: Path, table: list[dict]) -> TaskSpec:
    (folder / name).mkdir()
    for split in ("train", "test"):
        write(folder / name / f"{split}.jsonl", table)
    return TaskSpec(name=name, data=folder)


@pytest.mark.parametrize("name", LIBRARY)
def test_wordings_differ_and_each_class_is_another_choice(name, tmp_path):
    task = load(written(name, tmp_path, rows(name)))
    assert len(task.templates) >= 5
    assert len({template.name for template in task.templates}) == len(task.templates)
    for row in task.test:
        examples = [template.render(row) for template in task.templates]
        assert len({(example.input, example.choices) for example in examples}) == len(examples)
        assert {len(example.choices) for example in examples} == {NUM_CLASSES[name]}
        assert {example.label for example in examples} == {row.label}
        for example in examples:
            assert "  " not in example.input, example.input
            assert "??" not in example.input
    for template in task.templates:  # as --calibrate shows them
        assert "N/A" in template.render(task.test[0], "N/A").input
    assert [row.label for row in task.test] == list(range(NUM_CLASSES[name]))
    if task.metric == "accuracy":
        assert task.chance == pytest.approx(1 / NUM_CLASSES[name])


def test_t0s_eleven_held_out_entries_are_a_group():
    names = {name for name, file in LIBRARY.items() if file.group == "t0-heldout"}
    super_glue, anli = {"rte", "cb", "copa", "wic", "wsc"}, {"anli-r1", "anli-r2", "anli-r3"}
    assert names == super_glue | anli | {"winogrande", "hellaswag", "storycloze"}


def test_the_rounds_of_anli_are_worded_alike():
    assert LIBRARY["anli-r1"].templates == LIBRARY["anli-r2"].templates == LIBRARY["anli-r3"].templates
    assert [LIBRARY[f"anli-r{number}"].data.test for number in (1, 2, 3)] == ["test_r1", "test_r2", "test_r3"]


@pytest.mark.parametrize("name", ["mr", "cr"])
def test_reviews_of_films_and_of_products_are_answered_in_the_words_of_sst2(name):
    """What is tuned on one of them is asked the others' rows: the answers stay what they were."""
    own, source = LIBRARY[name], LIBRARY["sst2"]
    assert own.label.names == source.label.names
    assert [wording.choices for wording in own.templates] == [wording.choices for wording in source.templates]
    if name == "mr":
        of_sst2 = [wording.text.replace("sentence | trim", "text | trim") for wording in source.templates]
        assert [wording.text for wording in own.templates] == of_sst2


@pytest.mark.parametrize("name", [name for name in LIBRARY if name not in real.SOURCES])
def test_tasks_without_real_rows_here_are_known(name):
    assert name in {"dbpedia", "subj", "storycloze", "mrpc", "cr"}


# -- traps of real data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "column"), [("winogrande", "answer"), ("storycloze", "AnswerRightEnding")])
@pytest.mark.parametrize("kind", [str, int])
def test_labels_that_begin_at_one_mean_the_first_choice(name, column, kind, tmp_path):
    table = [row | {column: kind(label)} for row, label in zip(rows(name), (1, 2), strict=True)]
    assert [row.label for row in load(written(name, tmp_path, table)).test] == [0, 1]


def test_hellaswags_label_is_a_position_written_as_a_text_even_where_an_ending_is_a_digit(tmp_path):
    table = [
        row | {"endings": ["3", "2", "1", "0"], "label": label} for row in rows("hellaswag")[:1] for label in "0123"
    ]
    assert [row.label for row in load(written("hellaswag", tmp_path, table)).test] == [0, 1, 2, 3]


def test_banking77_reads_the_hubs_numbers_and_the_authors_names_alike(tmp_path):
    names = LIBRARY["banking77"].label.names
    assert list(names) == sorted(names, key=str.casefold)
    assert names.index("Refund not showing up") == 51
    labels = [51, "Refund_not_showing_up", "refund not showing up", "reverted_card_payment?", 0]
    table = [{"text": f"text {number}", "label": label} for number, label in enumerate(labels)]
    assert [row.label for row in load(written("banking77", tmp_path, table)).test] == [51, 51, 51, 53, 0]


def test_seventy_seven_choices_work_from_end_to_end(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written("banking77", tmp_path, rows("banking77"))
    words = "--shots 2 --limit 3 --templates 0 --quiet"
    assert main(["icl", "--task", "banking77", "--data", ".", *words.split()]) == 0
    (path,) = Path("results/records").glob("*.json")
    (result,) = json.loads(path.read_text())["results"]
    assert len(result["num_predicted"]) == 77
    assert "banking77" in capsys.readouterr().out


def test_copas_wordings_read_causes_and_effects(tmp_path):
    table = [row | {"question": kind} for kind in ("cause", "effect") for row in rows("copa")]
    task = load(written("copa", tmp_path, table))
    for template in task.templates:
        cause, effect = template.render(task.test[0]), template.render(task.test[2])
        assert (cause.input, cause.choices) != (effect.input, effect.choices), template.name
    by_name = {template.name: template for template in task.templates}
    assert by_name["why, or what then"].render(task.test[0]).input.endswith("Why did this happen?")
    stories = [by_name["in order"].render(task.test[number]).target for number in (0, 2)]
    assert stories == ["a choice1 b a premise b", "a premise b a choice1 b"]


def test_wscs_marked_pronoun_is_the_word_at_its_index(tmp_path):
    fields = {"span1_index": 0, "span1_text": "Ann", "span2_index": 4, "span2_text": "she"}
    table = [fields | {"text": "Ann told Bea that she, when she left, slept.", "label": label} for label in (0, 1)]
    task = load(written("wsc", tmp_path, table))
    marks = {"marked pronoun": "*she*", "word in brackets": "[she]"}
    shown = {template.name: template.render(task.test[0]).input.partition("\n")[0] for template in task.templates}
    for name, mark in marks.items():
        assert shown[name] == f"Ann told Bea that {mark}, when she left, slept."


@pytest.mark.parametrize("name", ["stsb", "STS-B"])
def test_a_regression_is_refused_in_one_line(name, capsys):
    assert main(["icl", "--task", name, "--shots", "0"]) == 2
    captured = capsys.readouterr().err
    assert f"error: task '{name}' asks for a number from 0 to 5" in captured
    assert "hint: of GLUE there are sst2, mrpc, cola and rte" in captured


# -- real rows ---------------------------------------------------------------------------------------------------------

ENCODINGS = {
    "sst2": ("sst2", "0 negative, 1 positive"),
    "mr": ("mr", "0 negative, 1 positive"),
    "ag_news": ("agnews", "0 World, 1 Sports, 2 Business, 3 Sci/Tech"),
    "trec": ("trec", "index into ABBR, ENTY, DESC, HUM, LOC, NUM"),
    "rte": ("rte", "0 entailment, 1 not_entailment"),
    "cb": ("cb", "0 entailment, 1 contradiction, 2 neutral"),
    "anli-r1": ("anli", "0 entailment, 1 neutral, 2 contradiction"),
    "copa": ("copa", "label 0 = choice1, 1 = choice2"),
    "wic": ("wic", "0 = different sense (false), 1 = same sense (true)"),
    "cola": ("cola", "0 unacceptable, 1 acceptable"),
    "boolq": ("boolq", "0 = no (false), 1 = yes (true)"),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", ENCODINGS)
def test_the_order_of_the_classes_is_the_one_that_the_data_states(name):
    folder, statement = ENCODINGS[name]
    assert statement in (real.folder() / folder / "README.md").read_text(encoding="utf-8")
    assert re.search(".*".join(map(re.escape, LIBRARY[name].label.names)), statement, re.IGNORECASE)


@pytest.mark.real_data
def test_the_fine_classes_of_trec_begin_with_the_coarse_ones():
    names = LIBRARY["trec"].label.names
    assert all(row["fine"].partition(":")[0] == names[row["label"]] for row in real.read("trec/test.jsonl"))


@pytest.mark.real_data
@pytest.mark.parametrize("name", real.SOURCES)
def test_each_wording_renders_real_rows(name, tmp_path):
    every = {"boolq": 8, "sst2": 4, "mr": 10, "trec": 4, "banking77": 10, "ag_news": 5, "hellaswag": 5, "cola": 40}.get(
        name, 3
    )
    if name in ("cb", "copa", "rte", "wsc", "winogrande"):
        every = 1
    task = load(TaskSpec(name=name, data=real.write(name, tmp_path, every=every)))
    assert {row.label for row in task.test} <= set(range(NUM_CLASSES[name]))
    for template in task.templates:
        inputs = [template.render(row).input for row in task.test]
        assert not any(" \n" in text for text in inputs), template.name


MADE_UP = {
    "e2e": {"mr": "name[Blue Spice], area[riverside]", "references": ["It is by the river."]},
    "webnlg": {"triples": [["Aarhus", "leader", "Bundsgaard"], ["Aarhus", "country", "Denmark"]], "references": ["x"]},
    "dart": {"triples": [["A", "YEAR", "1982"]], "references": ["In 1982.", ""]},
    "squad": {
        "context": "Oslo is big.",
        "question": "What is big?",
        "answers": {"text": ["Oslo"], "answer_start": [0]},
    },
}
REAL_TEXTS = {"e2e": "e2e", "webnlg": "webnlg", "dart": "dart", "squad": "squad_xquad_en"}


@pytest.mark.parametrize("name", TEXTS)
def test_tasks_of_written_answers_show_each_fact_and_no_reference(name, tmp_path):
    task = load(written(name, tmp_path, [MADE_UP[name]]))
    inputs = [template.render(task.test[0]).input for template in task.templates]
    assert len(set(inputs)) == len(inputs) >= 2
    facts = re.findall(
        r"[A-Z]\w+|\d+", json.dumps({key: MADE_UP[name][key] for key in MADE_UP[name] if key[0] in "mtcq"})
    )
    assert all(fact in text for fact in facts for text in inputs)
    assert task.writing.max_new_tokens
    assert task.writing.stop == ("\n",)


@pytest.mark.real_data
@pytest.mark.parametrize("name", TEXTS)
def test_real_rows_of_written_answers_load(name, tmp_path):
    (tmp_path / name).symlink_to(real.folder() / REAL_TEXTS[name])
    task = load(TaskSpec(name=name, data=tmp_path))
    assert len(task.test) > 500
    assert min(len(task.templates[0].choices_of(row)) for row in (*task.train, *task.test)) >= 1
