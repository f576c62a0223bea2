"""Shots chosen for each query, as they are typed."""

import json
import shlex
from pathlib import Path

import pytest

from peftbench.cli.app import main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(words, capsys):
    assert main(shlex.split(words)) == 0
    return capsys.readouterr()


def test_from_chosen_shots_to_a_report_and_to_predictions(capsys):
    _, err = run("icl --task lab-hazard --templates 0 --limit 4 --shots 2 --select bm25", capsys)
    assert "ICL on mini-gpt, 2 shots by bm25, seed 0: accuracy" in err
    (table,) = json.loads(run("report --format json", capsys).out)["tables"]
    assert [row["variant"] for row in table["rows"]] == ["select=bm25"]
    assert "ICL by bm25" in run("report", capsys).out
    (record,) = Path("results/records").glob("*.json")
    usage = json.loads((Path("results/prompts") / record.name).read_text())
    Path("rows.jsonl").write_text(json.dumps(usage["shots"][0]["fields"]) + "\n")
    out, _ = run(f"predict --shots-from {record} --input rows.jsonl", capsys)
    assert json.loads(out)["prediction"]


def test_balanced_is_the_draw_of_that_name(capsys):
    run("icl --task lab-hazard --templates 0 --limit 2 --shots 2 --select balanced", capsys)
    _, err = run("icl --task lab-hazard --templates 0 --limit 2 --shots 2 --draw balanced", capsys)
    assert "there already" in err


def test_what_does_not_go_together_is_one_line(capsys):
    assert main(shlex.split("icl --shots 2 --select bm25 --as-prefix")) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "a prefix is one prompt, and select = bm25 makes one for each query" in line
