"""`peftbench compare` as a person types it."""

import json

import pytest

from peftbench.cli.app import main
from peftbench.store.record import SCHEMA_VERSION
from tests.report.stored import stored

A, B = "icl@mini-gpt", "ia3@mini-t0"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    stored(tmp_path / "results", {0: [0] * 40})
    stored(tmp_path / "results", {0: [1] * 30 + [0] * 10}, B.split("@")[0], "mini-t0")
    return tmp_path / "results"


def test_a_comparison_is_printed(folder, capsys):
    assert main(["compare", A, B]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "Different on nli: B (ia3 on mini-t0, 32 shots) is right more often than A" in out
    assert max(map(len, out.splitlines())) <= 100


def test_json_is_one_document(folder, capsys):
    assert main(["compare", A, B, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"][0]["difference"] == 0.75


def test_records_may_lie_in_several_folders(folder, tmp_path, capsys):
    stored(tmp_path / "more", {0: [1] * 40}, "lora", "mini-t0")
    assert main(["compare", B, "lora@mini-t0", "--results", "results", "--results", "more"]) == 0
    assert "lora on mini-t0" in capsys.readouterr().out


def refused(capsys, *words):
    assert main(["compare", *words]) == 2
    out, err = capsys.readouterr()
    error, empty, hint, end = err.split("\n")
    assert (out, empty, end) == ("", "", "")
    assert hint.startswith("hint: ")
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


def test_unknown_rows_and_folders_are_refused(folder, capsys):
    error, hint = refused(capsys, A, "ia4@mini-t0")
    assert error == "unknown row 'ia4@mini-t0'"
    assert hint == "did you mean 'ia3@mini-t0:32'? known: ia3@mini-t0:32, icl@mini-gpt:32"
    assert refused(capsys, A, B, "--results", "nowhere")[0] == "no records in 'nowhere'"
    assert "records in common" in refused(capsys, A, A)[0]


def test_a_record_of_a_newer_schema_or_a_cut_one_is_refused(folder, capsys):
    path = next((folder / "records").iterdir())
    text = path.read_text()
    path.write_text(text.replace(f'"schema_version": {SCHEMA_VERSION}', '"schema_version": 99'))
    error, hint = refused(capsys, A, B)
    assert f"has schema version 99; this peftbench reads up to {SCHEMA_VERSION}" in error
    assert hint == "update peftbench, or name another folder with --results"
    path.write_text(text[:300])
    assert "is damaged" in refused(capsys, A, B)[0]


def test_missing_scores_are_refused(folder, capsys):
    next((folder / "scores").iterdir()).unlink()
    error, hint = refused(capsys, A, B)
    assert "are missing" in error
    assert "--force" in hint
