"""`peftbench report` as a person types it: formats, files, and records that are not as they should be."""

import json
import shutil
from pathlib import Path

import pytest

from peftbench.cli.app import main
from peftbench.report.formats import schema
from peftbench.store.record import SCHEMA_VERSION
from tests.report.stored import stored


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    for seed in (0, 1):
        stored(tmp_path / "results", {0: [1, 0] * 20}, seed=seed)
        stored(tmp_path / "results", {0: [1, 1, 1, 0] * 10}, "ia3", "mini-t0", seed=seed)
    return tmp_path / "results"


def run(capsys, *words):
    code = main(["report", *words])
    return code, *capsys.readouterr()


def rows(out):
    return [line.split()[0] for line in out.splitlines() if line.startswith(("ICL", "ia3"))]


def test_html_is_one_file_in_the_results(folder, capsys):
    code, out, err = run(capsys, "--format", "html")
    assert (code, out) == (0, "")
    assert err.startswith("wrote results/report.html\nwrote results/report.csv\n")
    assert (folder / "report.html").read_text().startswith("<!doctype html>")


def test_png_is_a_picture_where_it_was_asked_for(folder, capsys):
    pytest.importorskip("matplotlib")
    assert run(capsys, "--format", "png", "--out", "there/here.png")[0] == 0
    assert Path("there/here.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("form", ["table", "md", "latex", "json", "csv", "html"])
def test_a_file_has_what_stdout_would_have_had(folder, capsys, form):
    stdout = run(capsys, "--format", form)[1]
    code, out, _ = run(capsys, "--format", form, "--out", "file")
    assert (code, out) == (0, "")
    assert Path("file").read_text() == (stdout or (folder / "report.html").read_text())


def test_json_is_as_its_schema_says(folder, capsys):
    out = run(capsys, "--format", "json", "--reference", "t-few")[1]
    schema.check("report", out)
    tables = json.loads(out)["tables"]
    measured, published = tables[0]["rows"][0], tables[1]["rows"][0]
    assert len(tables) == 2
    assert measured["score_interval"][0] < measured["score_median"] < measured["score_interval"][1]
    assert len(measured["tasks"][0]["records"]) == 2
    assert published["tasks"][0]["records"] == []


def test_rows_are_sorted_by_a_column_and_an_unknown_one_is_refused(folder, capsys):
    assert rows(run(capsys)[1]) == ["ICL", "ia3"]
    assert rows(run(capsys, "--sort", "accuracy")[1]) == ["ia3", "ICL"]
    code, out, err = run(capsys, "--sort", "accurracy")
    assert (code, out) == (2, "")
    assert err.startswith("error: unknown column 'accurracy'\n\nhint: did you mean 'accuracy'? known: method, ")
    assert err.count("\n") == 3


def test_the_interval_stands_in_the_table_where_it_fits(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert "interval  chance" in run(capsys)[1]
    monkeypatch.setenv("COLUMNS", "80")
    narrow = run(capsys)[1]
    assert "interval  chance" not in narrow
    assert "62.5" not in narrow.partition("- ")[0] or max(map(len, narrow.splitlines())) <= 80


def broken(folder, spoil):
    """Spoil one of the two seeds of ia3."""
    path = next(p for p in sorted((folder / "records").iterdir()) if '"method": "ia3"' in p.read_text())
    path.write_text(spoil(path.read_text()))
    return path


BROKEN = {
    "half-written": (lambda text: text[: len(text) // 2], "is damaged: "),
    "edited": (lambda text: text.replace('"token": 30', '"token": 40'), "was edited: its digest is not that of"),
    "newer": (
        lambda text: text.replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'),
        f"has schema version 99; this peftbench reads up to {SCHEMA_VERSION}",
    ),
    "reformatted": (lambda text: json.dumps(json.loads(text)), "was edited"),
    "empty": (lambda _: "", "is damaged: "),
    "no object": (lambda _: "[]", "is damaged: "),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_record_that_is_not_whole_is_left_out_and_said(folder, capsys, fault):
    spoil, message = BROKEN[fault]
    path = broken(folder, spoil)
    code, out, err = run(capsys)
    assert code == 0
    first, hint, *_ = err.splitlines()
    assert first.startswith(f"left out: record '{path.relative_to(folder.parent)}' {message}")
    assert hint.startswith("hint: ")
    # the rest is there, with one seed less, and the table says so
    assert "left out: record" in " ".join(out.split())
    assert [line.split()[-3:] for line in out.splitlines() if line.startswith("ia3")] == [["1", "x", "1"]]


def test_if_no_record_is_whole_there_is_no_report(folder, capsys):
    for path in (folder / "records").iterdir():
        path.write_text("{")
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: record '")
    assert err.count("\n") == 3


def test_records_of_version_1_are_read_and_have_no_interval(folder, capsys, monkeypatch):
    for path in (folder / "records").iterdir():
        table = json.loads(path.read_text())
        del table["digest"]
        for result in table["results"]:
            del result["right"]
            del result["num_shots"]
        path.write_text(json.dumps(table | {"schema_version": 1}))
    code, out, _ = run(capsys)
    assert code == 0
    assert "95 % interval: n/a because records of schema version 1 do not say" in " ".join(out.split())


def test_other_data_or_another_n_is_another_table(folder, capsys):
    stored(folder, {0: [1, 0]}, sha256="e" * 64, seed=3)
    out = run(capsys, "--format", "json")[1]
    tables = json.loads(out)["tables"]
    assert [[task["num_examples"] for task in table["tasks"]] for table in tables] == [[2], [40]]
    # a name that stands for two sets of rows says which
    assert [table["title"] for table in tables] == [
        "Task: nli [2 rows, data eeeeee]; model: mini-gpt",
        "Task: nli [40 rows, data dddddd]",
    ]


def test_a_file_that_cannot_be_written_is_one_line_and_the_rest_is_made(folder, capsys):
    Path("taken").write_text("")
    code, out, err = run(capsys, "--format", "html", "--out", "taken/report.html")
    assert (code, out) == (2, "")
    wrote, error, empty, hint = err.splitlines()
    assert (wrote, empty) == ("wrote results/report.csv", "")
    assert error.startswith("error: cannot write 'taken/report.html': ")
    assert hint.startswith("hint: everything else was made")
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_a_csv_that_cannot_be_written_leaves_the_table(folder, capsys):
    (folder / "report.csv").mkdir()
    (folder / "report.csv" / "x").write_text("")
    code, out, err = run(capsys)
    assert code == 2
    assert rows(out) == ["ICL", "ia3"]
    assert err.startswith("error: cannot write 'results/report.csv': ")


def test_copies_in_another_folder_are_the_same_report(folder, capsys):
    shutil.copytree(folder, "copy")
    assert run(capsys, "--results", "copy")[1] == run(capsys)[1]


def everything(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_another_folder_is_only_read(folder, capsys, form):
    folder.rename("theirs")
    before = everything(Path())
    code, out, err = run(capsys, "--results", "theirs", "--format", form)
    assert (code, bool(out), "wrote" in err) == (0, True, False)
    assert everything(Path()) == before


def test_what_is_written_of_another_folder_is_what_out_says(folder, capsys):
    folder.rename("theirs")
    before = everything(Path())
    code, _, err = run(capsys, "--results", "theirs", "--format", "csv", "--out", "mine.csv")
    assert (code, err.splitlines()[0]) == (0, "wrote mine.csv")
    assert set(everything(Path())) - set(before) == {Path("mine.csv")}


@pytest.mark.parametrize("form", ["html", "png"])
def test_a_page_of_another_folder_needs_a_place(folder, capsys, form):
    folder.rename("theirs")
    before = everything(Path())
    code, out, err = run(capsys, "--results", "theirs", "--format", form)
    assert (code, out) == (2, "")
    message = f"error: --format {form} is a file, and 'theirs', named by --results, is only read"
    assert err == f"{message}\n\nhint: say where it goes: --out report.{form}\n"
    assert everything(Path()) == before


@pytest.mark.parametrize("name", ["results", "./results", "absolute"])
def test_ones_own_results_are_so_however_they_are_spelt(folder, capsys, name):
    run(capsys, "--results", str(folder) if name == "absolute" else name)
    assert (folder / "report.csv").is_file()
