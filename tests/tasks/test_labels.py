import dataclasses

import pytest

from peftbench.tasks.labels import index, index_in_row, is_missing, remark
from peftbench.tasks.task import Row, Task
from peftbench.tasks.template import Template

NLI = ("entailment", "not_entailment")


@pytest.mark.parametrize("value", [1, "1", " 1 ", "not_entailment", "NOT_entailment", True, "true"])
def test_a_class_may_be_written_in_many_ways(value):
    assert index(value, NLI) == 1


def test_blanks_and_underscores_are_alike():
    names = ("card arrival", "top_up")
    assert [index(value, names) for value in ("card_arrival", "Card arrival", "top up", "top_up")] == [0, 0, 1, 1]
    assert index("cardarrival", names) is None
    assert [index(value, ("a b", "a_b")) for value in ("a b", "a_b")] == [0, 1]


@pytest.mark.parametrize("value", [2, -1, "2", "maybe", "", None, 0.5, "1.0"])
def test_what_is_no_label_is_told(value):
    assert index(value, NLI) is None


@pytest.mark.parametrize("names", [("yes", "no"), ("true", "false"), ("True", "False")])
def test_booleans_find_their_names_whatever_the_order(names):
    assert [index(value, names) for value in (True, False, "true", "FALSE")] == [0, 1, 0, 1]


def test_names_that_are_numbers_leave_no_room_for_indices():
    stars = ("1", "2", "3")
    assert [index(value, stars) for value in (1, "3", 2)] == [0, 2, 1]
    assert index(0, stars) is None


def test_in_a_rows_own_choices_an_integer_is_a_position_and_a_string_a_text():
    options = ("4", "0", "1")
    assert index_in_row(1, options) == 1
    assert index_in_row("1", options) == 2
    assert index_in_row("2", ("a", "b", "c")) == 2
    assert index_in_row(3, options) is None


def test_the_exact_name_wins_over_one_of_another_case():
    assert index_in_row("us", ("US", "us")) == 1
    assert index_in_row("Us", ("US", "us")) is None


def labelled(values, classes):
    names = list(classes)
    rows = tuple(Row(number, {"label": value}, index(value, names)) for number, value in enumerate(values))
    template = Template("own", 0, "{{text}} ||| {{choice}}", names, "label")
    return Task("toy", "toy", "", 1, "accuracy", 0.5, (template,), rows[:1], rows[1:], "", classes=classes)


@pytest.mark.parametrize(
    ("values", "classes", "is_odd"),
    [
        ([1, 2, 1], ("a", "b", "c"), True),
        (["1", " 2", "2"], ("a", "b", "c"), True),
        ([1, 1], ("a", "b"), True),
        ([1, 0, 2], ("a", "b", "c"), False),
        (["b", "c", "b"], ("a", "b", "c"), False),
        (["1", "b"], ("a", "b", "c"), False),
        (["2", "3"], ("1", "2", "3"), False),
        ([True, True], ("no", "yes"), False),
    ],
)
def test_numbers_without_a_zero_seem_counted_from_one(values, classes, is_odd):
    text = remark(labelled(values, classes))
    assert (text is not None) == is_odd
    assert "\n" not in (text or "")


def test_where_each_row_has_its_own_choices_a_label_is_a_place():
    assert remark(dataclasses.replace(labelled([1, 2], ("a", "b", "c")), classes=None)) is None


@pytest.mark.parametrize("value", [2.0, "2.0", "2", 2, " 2 ", "2.00"])
def test_whole_numbers_are_the_names_that_they_are_the_value_of(value):
    assert index(value, ("1", "2", "3", "4", "5")) == 1
    assert index_in_row("2", ("1", "2", "3", "4", "5")) == 1


def test_a_number_with_its_zeros_is_a_name_before_it_is_one_without():
    assert index("2.0", ("2", "2.0")) == 1
    assert [index(value, ("0.5", "1", "1.5")) for value in (0.5, 1.0, "1.5", 2.0)] == [0, 1, 2, None]


@pytest.mark.parametrize("value", [None, "", " \t", float("nan")])
def test_a_label_that_is_not_there(value):
    assert is_missing(value)


@pytest.mark.parametrize("value", [0, False, "0", "None", "NA", "-1", 0.0])
def test_a_label_that_is_there(value):
    assert not is_missing(value)
