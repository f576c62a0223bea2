"""References as files have them: texts, lists, tables of the hub, several columns; by hand."""

import pytest

from peftbench.errors import TaskError
from peftbench.tasks.references import of_row, present


@pytest.mark.parametrize(
    ("fields", "columns", "texts"),
    [
        ({"a": "one"}, ["a"], ("one",)),
        ({"a": ["one", "", "two"]}, ["a"], ("one", "", "two")),
        ({"a": "one", "b": None}, ["a", "b"], ("one", "")),
        ({"a": "one"}, ["a", "b"], ("one", "")),
        ({"answers": {"text": ["x", "y"], "start": [0, 1]}}, ["answers.text"], ("x", "y")),
        ({"answers.text": "z", "answers": {"text": ["x"]}}, ["answers.text"], ("z",)),
        ({"a": 42, "b": 1.5}, ["a", "b"], ("42", "1.5")),
        ({"c": "one"}, ["a", "b"], None),
        ({"answers": ["x", "y"]}, ["answers.text"], ("x", "y")),
        ({"answers": {"start": [0]}}, ["answers.text"], None),
    ],
)
def test_references_come_from_texts_lists_tables_and_several_columns(fields, columns, texts):
    assert of_row(fields, columns) == texts


@pytest.mark.parametrize("value", [True, {"text": "x"}, [["x"]]])
def test_what_is_no_text_is_refused(value):
    with pytest.raises(TaskError, match=r"column 'a' holds a .*, which is no reference"):
        of_row({"a": value}, ["a"])


def test_blank_and_repeated_references_are_left_out_of_what_is_learned():
    assert present([" one", "", "two ", "one", " \n"]) == ("one", "two")
