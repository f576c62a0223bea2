import time

import pytest
from jinja2.filters import FILTERS

from peftbench.errors import TaskError
from peftbench.spec import limits
from peftbench.tasks.sandbox import ENVIRONMENT, NOT_FILTERS
from peftbench.tasks.task import Row
from peftbench.tasks.template import Template

FIELDS = {"text": "Good film.", "options": ["x", "y"], "table": {"a": 1}, "nan": float("nan"), "items": "three"}
ROW = Row(0, FIELDS | {"label": 1}, label=1)
START = "{% set a = 'ab' %}"


def shown(source: str) -> str:
    return Template("own", 0, f"{source} ||| {{{{choice}}}}", ["bad", "good"], "label").render(ROW).input


def loops(depth: int, number: int) -> str:
    heads = "".join(f"{{% for i{level} in range({number}) %}}" for level in range(depth))
    return heads + "x" + "{% endfor %}" * depth


BOMBS = {
    "nested ranges": loops(2, 99999),
    "25 nested loops": loops(25, 1),
    "recursive loop": "{% for x in range(50) recursive %}{{ loop(range(50)) }}{% endfor %}",
    "recursive macro": "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "~ doubles": START + "{% set a = a ~ a %}" * 60 + "{{a}}",
    "+ doubles": START + "{% set a = a + a %}" * 60 + "{{a}}",
    "lists double": START + "{% set a = [a, a] %}" * 60 + "{{a}}",
    "tables double": START + "{% set a = {'x': a, 'y': a} %}" * 60 + "{{a | length}}",
    "calls double": START + "{% set a = dict(x=a, y=a) %}" * 60 + "{{a | length}}",
    "replace squares": START + "{% set a = a | replace('a', a) %}" * 60 + "{{a}}",
    "join squares": START + "{% set a = a.join([a, a, a]) %}" * 60 + "{{a}}",
    "formats double": START + "{% set a = '%s%s' % (a, a) %}" * 60 + "{{a}}",
    "fields double": START + "{% set a = '{0}{0}'.format(a) %}" * 60 + "{{a}}",
    "blocks double": START + "{% set a %}{{a}}{{a}}{% endset %}" * 60 + "{{a}}",
    "format": "{{ '%0999999999d' | format(1) }}",
    "%": "{{ '%0999999999d' % 1 }}",
    "% with a value": "{{ '%*d' % (999999999, 1) }}",
    ".format": "{{ '{:0999999999d}'.format(1) }}",
    ".format with a value": "{{ '{:{}}'.format(1, 9999) }}",
    "indent": "{{ 'a' | indent(1000000000) }}",
    "indent of JSON": "{{ table | tojson(1000000000) }}",
    "indents of JSON": "{{ (range(9999) | list) | tojson(indent=9999) }}",
    "center": "{{ 'a' | center(1000000000) }}",
    ".zfill": "{{ '1'.zfill(1000000000) }}",
    ".ljust": "{{ '1'.ljust(1000000000) }}",
    "batch": "{{ [1] | batch(1000000000, 'x') | list }}",
    "round": "{{ 1 | round(999999999, 'ceil') }}",
    "text times a power": "{{ 'a' * 10**9 }}",
    "list times": "{{ [0] * 1000000000 }}",
    "power": "{{ 10 ** (10 ** 9) }}",
    "brackets": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "ifs": "{% if 1 %}" * 400 + "x" + "{% endif %}" * 400,
    "not": "{{ " + "not " * 3000 + "1 }}",
    "sum": "{{ 1" + "+1" * 9000 + " }}",
    "fields": "{{ text" + ".a" * 9000 + " }}",
    "long": "x" * (limits.MAX_TEMPLATE_CHARS + 1),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_within_two_seconds_and_says_what_was_too_much(name):
    started = time.process_time()
    with pytest.raises(
        TaskError, match=r"template 'own' (goes beyond its budget|fails in row 1: RecursionError)"
    ) as caught:
        shown(BOMBS[name])
    assert time.process_time() - started < 2
    assert len(str(caught.value)) < 300
    assert caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        "{{text.upper}}",
        "{{text['upper']}}",
        "{{text | attr('upper')}}",
        "{{[text.upper]}}",
        "{{range}}",
        "{{text ~ range}}",
        "{{[range] | join}}",
        "{{range | string}}",
        "{{'%s' % cycler('a')}}",
        "{{'{}'.format(cycler('a'))}}",
        "{{namespace(a=1)}}",
        "{% macro f() %}{% endmacro %}{{f}}",
        "{% for x in options %}{{loop}}{% endfor %}",
        "{{table}}",
        "{{table | string}}",
        "{{table ~ ''}}",
        "{{'%s' % table}}",
        "{{[table]}}",
        "{{range(3)}}",
        "{{self}}",
    ],
)
def test_what_is_no_text_never_reaches_a_prompt(source):
    with pytest.raises(TaskError, match="template 'own' shows in row 1 what is no text") as caught:
        shown(source)
    assert "{{text.upper()}}" in str(caught.value.hint)


@pytest.mark.parametrize("source", ["{{text.encode()}}", "{{text.translate({})}}", "{{(1).to_bytes(9, 'big')}}"])
def test_methods_that_nobody_bounded_are_refused(source):
    with pytest.raises(TaskError, match="reads what no template may: the method"):
        shown(source)


def test_nan_is_refused_like_null():
    with pytest.raises(TaskError, match="reads nan in row 1: nan"):
        shown("{{nan}}")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{text.upper()}}, {{text[:4]}}", "GOOD FILM., Good"),
        ("{{items}} {{row.items}}", "three three"),
        ("{{options}} {{options | map('upper') | join(', ')}}", "['x', 'y'] X, Y"),
        ("{% for x in options %}{{loop.index}} {{x}}{% if not loop.last %}, {% endif %}{% endfor %}", "1 x, 2 y"),
        ("{% for key, value in table.items() %}{{key}} = {{value}}{% endfor %}", "a = 1"),
        ("{{nowhere | default('?')}}{{'%s %d' % (text, 3)}}", "?Good film. 3"),
        ("{{'{} {:>3}'.format(text, 1)}} {{table | tojson}}", 'Good film.   1 {"a": 1}'),
        ("{{table | tojson(indent=2)}}", '{\n  "a": 1\n}'),
        ("{% macro f() %}<{{caller()}}>{% endmacro %}{% call f() %}{{text}}{% endcall %}", "<Good film.>"),
        ("{% for x in [[1, [2]]] recursive %}{{x if x is number else loop(x)}}{% endfor %}", "12"),
        ("{% set ns = namespace(n=0) %}{% for x in options %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ns.n}}", "2"),
        ("{{ 100 * 3 }} {{ 2 ** 10 }} {{ 7 % 4 }} {{ 'ab' * 2 }}", "300 1024 3 abab"),
    ],
)
def test_templates_say_what_they_said_without_a_budget(source, text):
    assert shown(source) == text


def test_each_of_jinjas_filters_is_bounded_or_is_not_there():
    ours = {name for name in ENVIRONMENT.filters if not name.startswith(" ")}
    assert ours == set(FILTERS) - set(NOT_FILTERS)
    assert all(ENVIRONMENT.filters[name] is not FILTERS[name] for name in ours)


def test_each_rendering_has_the_whole_budget():
    template = Template("own", 0, "{% for x in range(900) %}x{% endfor %}{{text}} ||| {{choice}}", ["a", "b"], "label")
    assert len({template.render(ROW).input for _ in range(100)}) == 1


@pytest.mark.parametrize("source", ["{{text}} {#", "{{text}} {%", "{{text}} {{", "{# {{text}}"])
def test_what_begins_and_never_ends_is_a_syntax_error(source):
    with pytest.raises(TaskError, match="template 'own' has a syntax error"):
        shown(source)


def test_a_number_of_too_many_digits_is_one_line():
    with pytest.raises(TaskError, match=r"template 'own' goes beyond its budget: a whole number beyond"):
        Template("own", 0, "{{text}}{{" + "9" * 5000 + "}} ||| {{choice}}", ["bad", "good"], "label")
