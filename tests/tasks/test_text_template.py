"""Templates whose answer is a reference: what the input sees, what an example holds, and what is refused."""

import pytest

from peftbench.errors import TaskError
from peftbench.tasks.task import Row
from peftbench.tasks.text_template import TextTemplate

ROW = Row(3, {"mr": "name[Blue Spice]", "references": ["A shop.", "", "The shop.", "A shop."]}, 0)


def test_an_example_holds_the_different_references_and_shows_the_first():
    example = TextTemplate("one", 0, "Data: {{mr}}\nText: ||| {{reference}}", ["references"]).render(ROW)
    assert (example.input, example.choices, example.label) == (
        "Data: name[Blue Spice]\nText:",
        ("A shop.", "The shop."),
        0,
    )
    assert (example.target, example.row_id, example.row) == ("A shop.", 3, ROW)


def test_metrics_see_references_as_the_file_has_them():
    template = TextTemplate("one", 0, "{{mr}} ||| {{ reference }}", ["references"])
    assert template.references_of(ROW) == ("A shop.", "", "The shop.", "A shop.")


@pytest.mark.parametrize("text", ["{{mr}} {{references}} ||| {{reference}}", "{{mr}} {{reference}} ||| {{reference}}"])
def test_no_input_reads_what_is_right(text):
    with pytest.raises(TaskError, match=r"reads the references in 'references?' before the answer"):
        TextTemplate("one", 0, text, ["references"])


def test_the_row_of_a_template_hides_references_too():
    template = TextTemplate("one", 0, '{{row["answers"] is defined}} {{mr}} ||| {{reference}}', ["answers.text"])
    assert template.render(Row(0, {"mr": "x", "answers": {"text": ["y"]}}, 0)).input == "False x"


@pytest.mark.parametrize("text", ["{{mr}}", "{{mr}} ||| It is {{reference}}", "{{mr}} ||| {{choice}}", "a ||| b ||| c"])
def test_the_answer_is_the_reference_and_nothing_else(text):
    with pytest.raises(TaskError, match=r"does not end in '\|\|\| {{reference}}'"):
        TextTemplate("one", 0, text, ["references"])


def test_a_row_without_input_or_reference_is_refused():
    template = TextTemplate("one", 0, "{{mr}} ||| {{reference}}", ["references"])
    with pytest.raises(TaskError, match="empty input in row 1"):
        template.render(Row(0, {"mr": " ", "references": "x"}, 0))
    with pytest.raises(TaskError, match="no reference in row 1"):
        template.render(Row(0, {"mr": "x", "references": [" "]}, 0))
