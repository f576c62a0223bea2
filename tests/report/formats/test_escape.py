import io
import re

import pytest
from rich.console import Console

from peftbench.report.formats import data, escape, text
from peftbench.report.notes.document import compose
from tests.report.records import record

ODD = "a\x1b]0;t\x07\r\x9b2J\u202eb\ud800"


def test_no_terminal_obeys_a_text_and_lines_stay_lines():
    assert escape.terminal(ODD) == r"a\x1b]0;t\x07\r\x9b2J\u202eb\ud800"
    assert escape.terminal("a\tb\nc, ü 🎈 \u200d") == "a\tb\nc, ü 🎈 \u200d"
    assert escape.line("a\nb") == r"a\nb"


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("[x](javascript:alert(1))", r"[x]\(javascript:alert(1))"),
        ("![x][y]", r"![x]\[y]"),
        ("[x]: javascript:x", r"[x]\: javascript:x"),
        ("a\n\n# H1", r"a\n\n# H1"),
        ("p < 0.05, `code`, **bold**, [1, 2]", "p < 0.05, `code`, **bold**, [1, 2]"),
    ],
)
def test_markdown_has_no_html_link_or_line_of_a_strangers(source, written):
    assert escape.markdown(source) == written


def test_latex_sets_each_character_as_it_is():
    assert escape.latex(r"a\write18{id}%&_^") == r"a\textbackslash{}write18\{id\}\%\&\_\textasciicircum{}"
    assert "\n" not in escape.latex("a\n\\end{tabular}")


@pytest.mark.parametrize("source", ["=cmd|' /C calc'!A0", "@SUM(A1)", "+1", "-1", "\t=1", "\r=1"])
def test_no_spreadsheet_takes_a_name_for_a_formula(source):
    assert escape.csv(source) == f"'{source}"


def test_numbers_and_other_texts_stay_what_they_are_in_csv():
    assert [escape.csv(value) for value in (-1.5, 3, None, "", "lab-nli2", "a=b")] == [
        -1.5,
        3,
        None,
        "",
        "lab-nli2",
        "a=b",
    ]


NAMES = [
    "a\x1b]0;t\x07b",
    "a\r\x9bb",
    "=cmd|' /C calc'!A0",
    "@SUM(A1)",
    "x\n\\write18{id}",
    "x\n\n# H1",
    "<script>x</script>",
    "[x](javascript:y)",
    "x; touch PWNED #",
    "[red]x [/]",
    "x\u202ey",
]
COMMANDS = {
    "terminal": re.compile("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e]|\x1b(?!\\[[0-9;]*m)"),
    "markdown": re.compile(r"<script|\]\(|^# ", re.MULTILINE),
    "latex": re.compile(r"^\\write", re.MULTILINE),
    "csv": re.compile(r"(^|[,\n])\"?[=@]"),
}


@pytest.mark.parametrize("form", COMMANDS)
@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_task_or_a_model_is_a_command_of_the_format(form, name):
    document = compose([record("ICL", name, name), record("ia3", name, name), record("ICL", "mini-t0", "other")])
    written = {
        "terminal": lambda: text.terminal(document, Console(file=io.StringIO(), width=100, force_terminal=True)),
        "markdown": lambda: text.markdown(document),
        "latex": lambda: text.latex(document),
        "csv": lambda: data.to_csv(document),
    }[form]()
    assert not COMMANDS[form].search(written), written
