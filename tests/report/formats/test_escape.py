import pytest

from peftbench.report.formats import escape

ODD = "a\x1b]0;t\x07\r\x9b2J\u202eb\ud800"


def test_no_terminal_obeys_a_text_and_lines_stay_lines():
    assert escape.terminal(ODD) == r"a\x1b]0;t\x07\r\x9b2J\u202eb\ud800"
    assert escape.terminal("a\tb\nc, ü 🎈 \u200d") == "a\tb\nc, ü 🎈 \u200d"
    assert escape.line("a\nb") == r"a\nb"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"),
        ("[x](javascript:alert(1))", r"[x]\(javascript:alert(1))"),
        ("![x][y]", r"![x]\[y]"),
        ("[x]: javascript:x", r"[x]\: javascript:x"),
        ("a\n\n# H1", r"a\n\n# H1"),
        ("p < 0.05, `code`, **bold**, [1, 2]", "p < 0.05, `code`, **bold**, [1, 2]"),
    ],
)
def test_markdown_has_no_html_link_or_line_of_a_strangers(text, written):
    assert escape.markdown(text) == written


def test_latex_sets_each_character_as_it_is():
    assert escape.latex(r"a\write18{id}%&_^") == r"a\textbackslash{}write18\{id\}\%\&\_\textasciicircum{}"
    assert "\n" not in escape.latex("a\n\\end{tabular}")


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "@SUM(A1)", "+1", "-1", "\t=1", "\r=1"])
def test_no_spreadsheet_takes_a_name_for_a_formula(text):
    assert escape.csv(text) == f"'{text}"


def test_numbers_and_other_texts_stay_what_they_are_in_csv():
    assert [escape.csv(value) for value in (-1.5, 3, None, "", "lab-nli2", "a=b")] == [
        -1.5,
        3,
        None,
        "",
        "lab-nli2",
        "a=b",
    ]
