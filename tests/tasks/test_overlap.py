from peftbench.tasks.overlap import remark
from peftbench.tasks.task import Row, Task
from peftbench.tasks.template import Template

TEMPLATE = Template("own", 0, "{{text}} ||| {{choice}}", ["a", "b"], "label")


def rows(*texts: str, label: int = 0) -> tuple[Row, ...]:
    return tuple(Row(number, {"text": text, "label": label}, label) for number, text in enumerate(texts))


def said(test, shots):
    return remark(Task("toy", "toy", "", 1, "accuracy", 0.5, (TEMPLATE,), shots, test, ""), test, shots)


def test_rows_that_are_all_new_and_different_need_no_remark():
    assert said(rows("a", "b"), rows("c", "d")) is None
    assert said(rows("a", "b"), ()) is None


def test_test_rows_among_the_shots_and_repeated_ones_are_counted_in_one_line():
    text = said(rows("a", "a", "b", "c", "c", "c", "d"), rows("a", "d", "e"))
    assert text.startswith("toy: 3 of 7 test rows are among the shots, and 3 of 7 test rows repeat another one; ")
    assert "\n" not in text


def test_rows_are_equal_whatever_their_labels():
    assert "1 of 2 test rows are among the shots" in said(rows("a", "b"), rows("a", label=1))


def test_shots_of_another_task_are_the_same_rows_whatever_their_column_is_called():
    def of(*columns):
        return tuple(Row(number, dict(fields, label=0), 0) for number, fields in enumerate(columns))

    assert "1 of 2 test rows are among the shots" in said(rows("a", "b"), of({"sentence": "a"}))
    pairs = of({"one": "a", "two": "b"}, {"one": "b", "two": "a"})
    assert said(pairs, of({"first": "c", "second": "a"})) is None
