"""Cross-validation from one file of rows to a report, a comparison and predictions, on an embedded model."""

import json
import shlex
from pathlib import Path

import pytest

from peftbench.cli.app import main
from peftbench.flow import trial

OWN = "--template '{{text}} Sentiment: ||| {{label}}' --choices good,bad"


@pytest.fixture(autouse=True)
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"row number {i // 2 if i < 4 else i},{'good' if i % 2 else 'bad'}\n" for i in range(12)]
    Path("rows.csv").write_text("text,label\n" + "".join(lines))
    return tmp_path


def run(words, capsys):
    assert main(shlex.split(words)) == 0
    return capsys.readouterr()


def records():
    return [json.loads(path.read_text()) for path in sorted(Path("results/records").glob("*.json"))]


def test_folds_from_rows_to_advice(capsys, monkeypatch):
    loaded = []
    load = trial.load
    monkeypatch.setattr(trial, "load", lambda *words, **more: loaded.append(words) or load(*words, **more))
    run(f"tune --model mini-gpt --method ia3 --set num_steps=2 --shots 4 --train rows.csv --folds 3 {OWN}", capsys)
    assert len(loaded) == 1
    _, err = run(f"icl --shots 4 --train rows.csv --folds 3 --seeds 0,1 {OWN}", capsys)
    assert "rows: 4 of 12 rows have the text of another one" in err
    assert "seed 1, fold 3 of 3: accuracy" in err
    assert "--folds 3" in err.partition("next: ")[2]
    made = records()
    assert len(made) == 3 + 3 + 6
    for record in made:
        fold, tested = record["identity"]["fold"], set(record["results"][0]["row_ids"].split())
        assert (fold["of"], record["task"]["clusters"]) == (3, "0 0 1 1 2 3 4 5 6 7 8 9")
        assert tested.isdisjoint(map(str, record["learned"]["shot_ids"]))
        assert ({"0", "1"} <= tested, {"2", "3"} <= tested) == ("0" in tested, "2" in tested)
    report = json.loads(run("report --format json", capsys).out)
    (table,) = report["tables"]
    assert [(row["method"], row["num_examples"], row["num_seeds"]) for row in table["rows"]] == [
        ("zero-shot", 12, "1"), ("ICL", 12, "2"), ("ia3", 12, "1"),
    ]  # fmt: skip
    assert sorted(name for row in table["rows"] for task in row["tasks"] for name in task["records"]) == sorted(
        record["id"] for record in made
    )
    compared = json.loads(run("compare icl@mini-gpt ia3@mini-gpt --format json", capsys).out)
    assert compared["tasks"][0]["num_examples"] == 12
    assert json.loads(run("advise --queries 100 --format json", capsys).out)
    adapter = next(Path("results/adapters").iterdir())
    answers = run(f"predict --adapter {adapter} --input rows.csv --quiet", capsys).out
    assert len(answers.splitlines()) == 12


def test_zero_shot_of_all_folds_is_zero_shot_of_all_rows(capsys):
    run(f"icl --shots 0 --train rows.csv --folds 3 --seeds 0,1,2 {OWN}", capsys)
    assert len(records()) == 3  # nothing is drawn, so that further splits would say the same
    run(f"icl --shots 0 --train rows.csv --test rows.csv --results whole {OWN}", capsys)
    (joined,), (whole,) = (
        json.loads(run(f"report --format json --results {folder}", capsys).out)["tables"][0]["rows"]
        for folder in ("results", "whole")
    )
    same = ("score_median", "num_examples", "chance")
    assert {name: joined[name] for name in same} == {name: whole[name] for name in same}
    costs = [{(cost["name"], cost["kind"]): cost["value"] for cost in row["costs"]} for row in (joined, whole)]
    del costs[0]["learn_seconds", "measured"], costs[1]["learn_seconds", "measured"]
    assert costs[0] == pytest.approx(costs[1], rel=1e-6)
