"""Tuned on one task, tested on another: the shots are the one's, the questions the other's."""

import json

import pytest
from pydantic import ValidationError

from peftbench.cli.app import main
from peftbench.flow.plan import plan
from peftbench.flow.run import run
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.results import Store

TRAINING = {"num_steps": 3}


def cell(task, source=None, **fields):
    facts = {"learner": "tune", "method": "ia3", "training": TRAINING, "shots": 4, "limit": 6, "device": "cpu"}
    source_task = None if source is None else TaskSpec(name=source)
    return Cell(model="mini-gpt", task=TaskSpec(name=task), source_task=source_task, **(facts | fields))


def test_what_is_learned_is_what_the_source_s_own_cell_learns_and_what_is_asked_is_the_target_s():
    own, there, target = (
        plan(part) for part in (cell("lab-hazard"), cell("lab-sense", "lab-hazard"), cell("lab-sense"))
    )
    assert there.learner == own.learner != target.learner
    assert (there.shots, there.source.name) == (own.shots, "lab-hazard")
    assert (there.queries, there.task.sha256) == (target.queries, target.task.sha256)


def test_the_record_is_the_target_s_and_its_adapter_the_source_s(tmp_path):
    store = Store(tmp_path)
    own, there, target = (
        outcome.record
        for outcome in run([cell("lab-hazard"), cell("lab-sense", "lab-hazard"), cell("lab-sense")], store)
    )
    assert (there.task, there.results[0].name) == (target.task, target.results[0].name)
    assert len({own.id, there.id, target.id}) == 3
    assert there.identity["source_task"] == "lab-hazard"
    assert there.identity["source_task_sha256"] == own.task.sha256
    assert "source_task" not in target.identity
    values = [store.adapters / record.id / "adapter.safetensors" for record in (own, there, target)]
    assert values[0].read_bytes() == values[1].read_bytes() != values[2].read_bytes()
    costs = [{part.name: part.value for part in record.costs if part.kind == "counted"} for record in (own, there)]
    assert costs[0]["training_flops"] == costs[1]["training_flops"]
    usage = json.loads((store.adapters / there.id / "usage.json").read_text())
    assert usage["task"] == "lab-sense"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"learner": "icl", "method": None, "training": {}}, "a prompt shows rows of the task that it asks"),
        ({"fold": {"index": 0, "of": 3}, "limit": None}, "folds test the rows of the task that is tuned on"),
    ],
)
def test_what_does_not_go_with_transfer_is_said(fields, fault):
    with pytest.raises(ValidationError, match=fault):
        cell("lab-sense", "lab-hazard", **fields)


def test_a_task_is_no_target_of_its_own(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "tune --model mini-gpt --method ia3 --task lab-hazard --transfer-to lab-hazard"
    assert main(words.split()) == 2
    assert "'lab-hazard' is tuned on, and transfer goes to another task" in capsys.readouterr().err


def test_from_the_command_line_targets_are_asked_zero_shot_too(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "tune --model mini-gpt --method ia3 --shots 4 --limit 6 --set num_steps=2 --task lab-hazard"
    assert main([*words.split(), "--transfer-to", "lab-sense,lab-nli2", "--format", "json"]) == 0
    tables = json.loads(capsys.readouterr().out)["tables"]
    rows = {tuple(sorted(task["name"] for task in table["tasks"])): table["rows"] for table in tables}
    assert sorted(rows) == [("lab-hazard",), ("lab-nli2", "lab-sense")]
    assert [row["method"] for row in rows["lab-nli2", "lab-sense"]] == ["zero-shot", "ia3"]


def test_one_classifier_for_another_task_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "tune --model mini-gpt --method knn --task lab-hazard --transfer-to lab-sense"
    assert main(words.split()) == 2
    assert "--transfer-to takes a tuned model to other tasks" in capsys.readouterr().err
