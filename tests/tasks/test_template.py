import pytest

from peftbench.errors import TaskError
from peftbench.tasks.task import Row
from peftbench.tasks.template import Template

REVIEW = Row(0, {"text": "Good film.", "label": 1}, label=1)


def make(text: str, choices=("bad", "good"), label: str = "label") -> Template:
    return Template("own", 0, text, choices, label)


def test_a_row_becomes_an_input_and_one_target_for_each_choice():
    example = make(" {{text}} {{choices | join(' or ')}}? ||| It is {{choice}}. ").render(REVIEW)
    assert example.input == "Good film. bad or good?"
    assert example.choices == ("It is bad.", "It is good.")
    assert example.target == "It is good."


def test_the_label_column_stands_for_the_choice_in_the_target():
    assert make("{{text}} ||| {{label}}").render(REVIEW).choices == ("bad", "good")


def test_each_choice_may_come_from_a_column():
    row = Row(0, {"a": "in", "b": "out", "label": 0}, label=0)
    assert make("Where? ||| {{choice}}", ["{{a}}", "{{b}}"]).render(row).choices == ("in", "out")


@pytest.mark.parametrize("options", [["x", "y"], ["x", "y", "z"]])
def test_one_source_may_render_to_as_many_choices_as_the_row_has(options):
    row = Row(0, {"options": options, "label": 1}, label=1)
    example = make("Pick. ||| {{choice}}", "{{options | join('|||')}}").render(row)
    assert example.choices == tuple(options)


def test_columns_whose_names_are_no_identifiers_stand_in_row():
    row = Row(0, {"Tweet text": "Hello", "label": 0}, label=0)
    assert make('{{row["Tweet text"]}} ||| {{choice}}').render(row).input == "Hello"


def test_row_does_not_hold_the_label():
    with pytest.raises(TaskError, match="has no attribute 'label'"):
        make("{{text}} {{row.label}} ||| {{choice}}").render(REVIEW)


@pytest.mark.parametrize("text", ["{{label}} ||| {{choice}}", "{{text}}{% if label %}!{% endif %} ||| {{choice}}"])
def test_an_input_that_reads_the_label_is_refused(text):
    with pytest.raises(TaskError, match="reads the label 'label' before the answer"):
        make(text)


def test_a_choice_that_reads_the_label_is_refused():
    with pytest.raises(TaskError, match="reads the label"):
        make("{{text}} ||| {{choice}}", ["{{label}}", "other"])


def test_an_input_that_reads_the_choice_is_refused():
    with pytest.raises(TaskError, match="'choice' is undefined"):
        make("{{text}} {{choice}} ||| {{choice}}").render(REVIEW)


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(TaskError, match="names 'txt', which is no column in row 1") as caught:
        make("{{txt}} ||| {{choice}}").render(REVIEW)
    assert caught.value.hint == "did you mean 'text'? columns: text"


def test_null_is_refused_instead_of_shown_as_the_word_none():
    with pytest.raises(TaskError, match="reads null in row 1: text"):
        make("{{text}} ||| {{choice}}").render(Row(0, {"text": None, "label": 0}, label=0))


@pytest.mark.parametrize(
    "text", ["{{text} ||| {{choice}}", "{% for %} ||| {{choice}}", "{{text | nope}} ||| {{choice}}"]
)
def test_a_syntax_error_is_told(text):
    with pytest.raises(TaskError, match="template 'own' has a syntax error"):
        make(text)


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__",
        "text.__class__.__base__.__subclasses__()",
        "choices.__init__.__globals__",
        "cycler.__init__.__globals__",
    ],
)
def test_a_template_cannot_reach_behind_the_columns(expression):
    with pytest.raises(TaskError, match="reads what no template may: access to attribute '__"):
        make(f"{{{{{expression}}}}} ||| {{{{choice}}}}").render(REVIEW)


def test_a_template_cannot_change_its_row():
    row = Row(0, {"options": ["x"], "label": 0}, label=0)
    with pytest.raises(TaskError, match="reads what no template may"):
        make("{{options.append('y')}} ||| {{choice}}").render(row)
    assert row.fields["options"] == ["x"]


@pytest.mark.parametrize("text", ["{{[1, 2] | random}} ||| {{choice}}", "{{lipsum()}} ||| {{choice}}"])
def test_nothing_random_is_at_hand(text):
    with pytest.raises(TaskError):
        make(text).render(REVIEW)


def test_what_goes_wrong_inside_a_template_is_told_with_the_row():
    with pytest.raises(TaskError, match="fails in row 1: ZeroDivisionError"):
        make("{{1 // 0}} ||| {{choice}}").render(REVIEW)


@pytest.mark.parametrize("choices", [["yes", "yes"], ["yes", " "], ["yes"], "only one"])
def test_choices_that_are_equal_empty_or_alone_are_refused(choices):
    with pytest.raises(TaskError, match="has the choices"):
        make("{{text}} ||| {{choice}}", choices)


def test_choices_of_a_row_that_are_equal_are_refused():
    row = Row(6, {"a": "same", "b": "same", "label": 0}, label=0)
    with pytest.raises(TaskError, match=r"has the choices \['same', 'same'\] in row 7"):
        make("? ||| {{choice}}", ["{{a}}", "{{b}}"]).render(row)


def test_a_target_without_the_choice_is_refused():
    with pytest.raises(TaskError, match="equal or empty targets") as caught:
        make("{{text}} ||| always this").render(REVIEW)
    assert "{{choice}}" in str(caught.value.hint)


def test_an_input_without_text_is_refused():
    with pytest.raises(TaskError, match="empty input in row 1"):
        make("{{text}} ||| {{choice}}").render(Row(0, {"text": " ", "label": 0}, label=0))


@pytest.mark.parametrize(("text", "num_bars"), [("{{text}} {{choice}}", 0), ("{{text}} ||| {{choice}} ||| ", 2)])
def test_a_template_takes_one_bar(text, num_bars):
    with pytest.raises(TaskError, match=f"has {num_bars} '"):
        make(text)


def test_a_label_beyond_the_rows_choices_is_refused():
    with pytest.raises(TaskError, match="has 2 choices, and label 2 in row 1"):
        make("{{text}} ||| {{choice}}").render(Row(0, {"text": "x", "label": 2}, label=2))


def test_a_column_called_row_takes_nothing_from_those_that_are_no_identifiers():
    row = Row(0, {"row": 7, "Tweet text": "hello", "label": 0}, 0)
    template = Template("t", 0, '{{row["row"]}} {{row["Tweet text"]}} ||| {{choice}}', ("a", "b"), "label")
    assert template.render(row).input == "7 hello"
    of_label = Template("t", 0, '{{row["Tweet text"]}} ||| {{choice}}', ("a", "b"), "row")
    assert of_label.render(row).input == "hello"
    leaking = Template("t", 0, '{{row["row"] | default("nothing")}} ||| {{choice}}', ("a", "b"), "row")
    assert leaking.render(row).input == "nothing"
