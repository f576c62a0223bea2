import functools
import io
import re

import pytest
from rich.console import Console

from peftbench.report.formats import text
from peftbench.report.notes.document import compose
from peftbench.report.rows.reference import published
from peftbench.store.results import Store
from tests.report.records import record
from tests.report.stored import stored

TASKS = ("coreference", "hazard", "nli", "region")


@functools.cache
def document():
    records = [record("ICL", "mini-t0", task, shots=0) for task in TASKS]
    for method, model in (("ICL", "mini-gpt"), ("ia3", "mini-t0"), ("prompt_tuning", "mini-t0")):
        records += [record(method, model, task, seed=seed) for task in TASKS for seed in range(5)]
    return compose(records, published("t-few"))


@functools.cache
def drawn(width, **options):
    return text.terminal(document(), Console(file=io.StringIO(), width=width, **options))


def test_a_hundred_columns_hold_every_row_on_one_line():
    lines = drawn(100).splitlines()
    assert max(len(line) for line in lines) <= 100
    (row,) = [line for line in lines if line.startswith("prompt_tuning") and "kB" in line]
    cells = "prompt_tuning mini-t0 32 4.7e7 ~9.1e12 26.1 kB 6.14k 0.17% 55.0 (10.0) 50.0 1,200 5 x 2"
    assert " ".join(row.split()) == cells


def test_numbers_end_under_the_end_of_their_header():
    lines = drawn(100).splitlines()
    header = next(line for line in lines if line.startswith("method"))
    row = next(line for line in lines if line.startswith("ia3"))
    for word, value in (
        ("shots", "32"),
        ("FLOPs/ex.", "4.7e7"),
        ("disk", "26.1 kB"),
        ("chance", "50.0"),
        ("n", "1,200"),
    ):
        assert header.index(f"{word} ") + len(word) == row.index(f"{value} ") + len(value)


def test_intervals_are_explained_where_they_stand():
    """100 columns have no room for them, and LaTeX follows the paper, which has none."""
    assert [" interval: " in out for out in (drawn(140), drawn(100), text.latex(document()))] == [True, False, False]
    assert [" interval " in out for out in (drawn(140), drawn(100))] == [True, False]


def test_an_interval_that_there_is_no_room_for_is_said_to_be_left_out(tmp_path):
    stored(tmp_path, {0: [1, 0, 1, 1] * 5})
    one = compose(Store(tmp_path).all())
    wide, narrow = (text.terminal(one, Console(file=io.StringIO(), width=width)) for width in (140, 80))
    missing = "95 % interval: there is no room for it at 80 columns; --format md has it"
    assert ("95 % interval: percentile" in wide, missing in wide) == (True, False)
    assert ("95 % interval: percentile" in narrow, missing in narrow) == (False, True)


def test_without_a_terminal_there_is_no_colour_and_no_blank_at_line_ends():
    assert "\x1b" not in drawn(100)
    assert not re.search(r" \n", drawn(100))


def test_a_terminal_gets_bold_headers():
    assert re.search(r"\x1b\[1mmethod *\x1b\[0m", drawn(120, force_terminal=True))


def test_a_narrow_terminal_cuts_tables_and_loses_nothing():
    lines = drawn(80).splitlines()
    assert max(len(line) for line in lines) <= 80
    rows = [line.split() for line in lines if line.startswith("prompt_tuning")]
    assert all(row[:3] == ["prompt_tuning", "mini-t0", "32"] for row in rows)
    assert [cell for row in rows for cell in row].count("55.0") == 1 + len(TASKS)
    assert sum(row.count("(10.0)") for row in rows) == 1 + len(TASKS)


@pytest.mark.parametrize("long", ["owner/model-of-7B-parameters", "modelofsevenbillionparameters"])
def test_a_long_model_name_folds_and_the_table_stays_whole(long):
    records = [record(method, "mini-t0", task, seed=0) for method in ("ICL", "prompt_tuning") for task in TASKS]
    renamed = [one.model_copy(update={"model": one.model.model_copy(update={"name": long})}) for one in records]
    others = [record("ICL", "mini-gpt", task, seed=0) for task in TASKS]
    drawing = text.terminal(compose([*others, *renamed]), Console(file=io.StringIO(), width=100))
    lines = drawing.partition("\n\n")[0].splitlines()
    assert [sum(word in line for line in lines) for word in ("accuracy %", "templ.")] == [1, 1]
    start, end = lines[2].index("model"), lines[2].index("shots")
    assert "".join(line[start:end].strip() for line in lines[4:]) == "mini-gpt" + 2 * long
    assert max(len(line) for line in lines) <= 100


def test_a_model_that_all_rows_have_stands_above_them():
    of_two = [record("ICL", model, "nli", seed=0) for model in ("mini-gpt", "mini-t0")]
    alike, different = (text.markdown(compose(records)) for records in (of_two[:1], of_two))
    assert alike.startswith("**Task: nli; model: mini-gpt**")
    assert "| model |" not in alike
    assert different.startswith("**Task: nli**")
    assert "| model |" in different


def test_tasks_that_do_not_fit_go_on_in_another_table():
    assert drawn(100).count("T-Few ") > drawn(200).count("T-Few ")


@pytest.mark.parametrize("separator", ["| :--- |", "| ---: |"])
def test_markdown_aligns_its_columns(separator):
    assert separator in text.markdown(document())


def test_markdown_rows_have_as_many_cells_as_the_header():
    table = [line for line in text.markdown(document()).splitlines() if line.startswith("|")][:6]
    assert len({line.count("|") for line in table}) == 1


def test_latex_escapes_and_balances():
    latex = text.latex(document())
    assert r"prompt\_tuning & mini-t0 & 32 & 4.7e7 & $\sim$9.1e12 & 26.1 kB & 6.14k 0.17\% & 55.0$_{10.0}$ &" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 4
    assert not [line for line in latex.splitlines() if re.search(r"(?<![\\$])[_#]", line) and not line.startswith("%")]


def test_published_rows_are_marked():
    assert "Published: arXiv 2205.05638" in drawn(100)


def cells(column, settings):
    """What stands in a column of the first table, row by row."""
    made = [record("prompt_tuning", "mini-t0", task, method_config=one) for one in settings for task in TASKS]
    made += [record("ICL", "mini-gpt", task, shots=1) for task in TASKS]
    lines = text.terminal(compose(made), Console(file=io.StringIO(), width=100)).partition("\n\n")[0].splitlines()
    start, end = lines[2].index(column), lines[2].index("model")
    return [line[start:end].rstrip() for line in lines[4:]][1:]


def test_long_names_break_between_words_and_words_where_their_parts_end():
    settings = [{"num_virtual_tokens": number, "init": "uniform"} for number in (5, 100)]
    settings.append({"num_virtual_tokens": 100, "init": "labels"})
    assert cells("method", settings) == [
        "prompt_tuning",
        " num_virtual_",
        " tokens=5,",
        " init=uniform",
        "prompt_tuning",
        " num_virtual_",
        " tokens=100,",
        " init=labels",
        "prompt_tuning",
        " num_virtual_",
        " tokens=100,",
        " init=uniform",
    ]
