"""`peftbench advise` as a person types it."""

import json

import pytest

from peftbench.cli.app import main
from tests.report.stored import stored


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    for seed in (0, 1):
        stored(tmp_path / "results", {0: [1, 0] * 50}, seed=seed)
        stored(tmp_path / "results", {0: [1, 1, 1, 0] * 25}, "ia3", "mini-gpt", seed=seed)
    return tmp_path / "results"


def run(capsys, *words):
    code = main(["advise", *words])
    return code, *capsys.readouterr()


def test_it_answers(folder, capsys):
    code, out, err = run(capsys, "--queries", "10000", "--min-score", "60")
    assert (code, err) == (0, "")
    assert "10,000 queries, at least 60.0 % accuracy" in out
    assert "Cheapest over all: ia3 on mini-gpt, 32 shots (~9.6e12 FLOPs), whether prompts are cached or not." in out


def test_a_score_is_a_share_or_a_percentage(folder, capsys):
    share, percent = (run(capsys, "--queries", "10", "--min-score", text)[1] for text in ("0.6", "60"))
    assert share == percent


def test_few_queries_have_another_answer(folder, capsys):
    out = run(capsys, "--queries", "10", "--min-score", "0.35")[1]
    assert "Cheapest over all: ICL on mini-gpt, 32 shots (1.6e10 FLOPs)" in out


def test_json_is_one_document(folder, capsys):
    out = run(capsys, "--queries", "10", "--format", "json")[1]
    assert json.loads(out)["tables"][0]["num_queries"] == 10


def test_one_way_of_learning_is_not_enough_evidence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "elsewhere", {0: [1, 0] * 50})
    out = run(capsys, "--queries", "10", "--results", "elsewhere")[1]
    text = " ".join(out.split())
    assert "Not enough evidence: no row was tuned; ICL on mini-gpt has one seed: one draw of shots." in text
    assert "Run next: peftbench tune --model mini-gpt --method ia3 --task PATH/nli.toml --results elsewhere" in text
    assert "--seeds 0,1,2,3,4 --results elsewhere" in text


def test_a_damaged_record_is_said(folder, capsys):
    next((folder / "records").iterdir()).write_text("{")
    code, _, err = run(capsys, "--queries", "10")
    assert code == 0
    assert err.startswith("left out: record '")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Missing option '--queries'"),
        (["--queries", "0"], "Invalid value for '--queries'"),
        (["--queries", "10", "--min-score", "101"], "Invalid value for '--min-score'"),
        (["--queries", "10", "--results", "nowhere"], "no records in 'nowhere'"),
    ],
)
def test_wrong_input_is_one_line_and_a_hint(folder, capsys, words, message):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 3
