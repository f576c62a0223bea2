"""Tables as LaTeX: read by a strict reader of tabulars; and, where there is a LaTeX, compiled."""

import re
import shutil
import subprocess

import pytest

from peftbench.report.formats import text
from peftbench.report.notes.document import compose
from peftbench.report.rows.reference import published
from tests.report.pictured import document, records
from tests.report.records import record

LATEX = shutil.which("pdflatex")
TABULAR = re.compile(
    r"\\begin\{tabular\}\{([lr]+)\}\n\\toprule\n(.+?) \\\\\n\\midrule\n(.+?)\n\\bottomrule\n\\end\{tabular\}", re.DOTALL
)
CELL = re.compile(r"(?:[^\\&%$#_{}~^\[]|\\[&%$#_{}]|\\text\w+\{\}|\{\[\}|\$\\sim\$|\$_\{[\d.]+\}\$)*")


def tables(latex):
    """Each tabular as a list of rows of cells; whatever else stands there must be a comment."""
    found = []
    for columns, head, body in TABULAR.findall(latex):
        rows = [head.split(" & ")]
        for line in body.split("\n"):
            assert line.endswith(r" \\")
            rows.append(line.removesuffix(r" \\").split(" & "))
        assert {len(row) for row in rows} == {len(columns)}
        assert [cell for row in rows for cell in row if not CELL.fullmatch(cell)] == []
        found.append(rows)
    rest = TABULAR.sub("", latex)
    assert [line for line in rest.splitlines() if line and not line.startswith("%")] == []
    return found


def evil():
    """Names that LaTeX would read as its own."""
    made = record("ia3", "mini-t0")
    name = r"a_b#c%d&e{f}g$h~i^j\k[l]"
    return made.model_copy(update={"model": made.model.model_copy(update={"name": name})})


DOCUMENTS = {
    "records": document,
    "published": lambda: compose([], published("t-few")),
    "evil": lambda: compose([evil()]),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_line_is_a_row_of_whole_cells(name):
    assert tables(text.latex(DOCUMENTS[name]()))


def test_rows_and_numbers_are_as_in_the_paper():
    table = next(iter(tables(text.latex(compose(records())))))
    assert [row[0] for row in table] == ["method", "lora", "ia3", "zero-shot", "zero-shot", "ICL", "ICL"]
    ia3 = table[2]
    assert ia3[3:6] == ["4.7e7", r"$\sim$9.1e12", "26.1 kB"]
    assert re.fullmatch(r"\d\d\.\d\$_\{\d\.\d\}\$", ia3[7])


def test_tuned_comes_before_zero_shot_before_icl_whatever_the_model():
    made = [record("ICL", "mini-t0"), record("ICL", shots=0), record("ia3", "mini-t0"), record("lora", "mini-gpt")]
    (rows,) = tables(text.latex(compose(made)))
    assert [row[0] for row in rows[1:]] == ["lora", "ia3", "zero-shot", "ICL"]


def test_the_reader_sees_what_is_wrong():
    latex = text.latex(document())
    for broken in (latex.replace(r"\bottomrule", ""), latex.replace(" & ", " ", 1), latex.replace(r"\%", "%", 1)):
        with pytest.raises(AssertionError):
            tables(broken)


@pytest.mark.skipif(LATEX is None, reason="there is no pdflatex here")
def test_latex_compiles_them(tmp_path):
    parts = "\n".join(text.latex(made()) for made in DOCUMENTS.values())
    page = "\\documentclass[a3paper,landscape]{article}\\usepackage{booktabs}\\begin{document}\\scriptsize\n"
    (tmp_path / "page.tex").write_text(f"{page}{parts}\n\\end{{document}}\n")
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
