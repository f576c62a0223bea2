"""From rows to a decision in Python, on a tiny model."""

import pytest

import peftbench
from peftbench.decision import decide as decision
from peftbench.decision import keep, schedule
from peftbench.decision.schedule import scheduled
from peftbench.decision.strategies import Split
from peftbench.errors import RecordError
from peftbench.flow import run as flow
from peftbench.learners.progress import SILENT
from peftbench.spec.cell import TaskSpec
from peftbench.store.results import Store
from tests.decision.rows import Listener, write_model, write_rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decide")
    write_rows(folder)
    write_model(folder)
    return folder


@pytest.fixture
def question(folder, monkeypatch):
    """Plan at a rate that is not measured, without searches for learning rates."""
    monkeypatch.setattr(schedule, "matmul_flops_per_second", lambda *_: 1e10)

    def ask(store, budget=None):
        task, _ = decision.read(folder / "rows.csv")
        model = {"model": str(folder / "model"), "device": "cpu"}
        return scheduled(task, model, Split(folds=2), budget, store, SILENT)

    return ask


def test_each_row_is_answered_once_under_each_way(folder):
    decided = peftbench.decide(
        folder / "rows.csv", model=str(folder / "model"), queries=77, folds=2, results=folder / "results"
    )
    assert isinstance(decided, peftbench.Decision)
    assert (decided.num_rows, decided.num_queries) == (20, 77)
    assert {(choice.row.method, choice.row.num_shots) for choice in decided.choices} == {
        ("zero-shot", 0), ("ICL", 4), ("ICL", 10), ("ia3", 10), ("lora", 10),
    }  # fmt: skip
    assert len(decided.candidates) == 8
    assert decided.majority.share == 0.5
    for candidate in decided.candidates:
        (record,) = candidate.row.records
        assert len(record.folds) == 2
        assert record.results[0].num_examples == 20


def test_interrupted_it_goes_on_and_comes_to_the_same(question, tmp_path, monkeypatch):
    whole = Store(tmp_path / "whole")
    schedule = question(whole)
    expected = decision.answer(schedule, decision.carry_out(schedule, whole), 500)

    learn, left = flow.Trial.learn, iter(range(5))

    def stopped(trial, watch):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return learn(trial, watch)

    store = Store(tmp_path / "stopped")
    with monkeypatch.context() as patch:
        patch.setattr(flow.Trial, "learn", stopped)
        with pytest.raises(KeyboardInterrupt):
            decision.carry_out(question(store), store)
    assert len(store.all()) == 5
    schedule = question(store)
    found = decision.answer(schedule, decision.carry_out(schedule, store), 500)
    assert len(store.all()) == len(whole.all())
    assert (found.verdict, found.lead, found.majority) == (expected.verdict, expected.lead, expected.majority)
    assert [choice.row.method for choice in found.choices] == [choice.row.method for choice in expected.choices]


def test_when_time_is_up_the_ways_that_are_left_are_said_to_be_left_out(question, tmp_path, monkeypatch):
    store, listener = Store(tmp_path), Listener()
    schedule = question(store)
    monkeypatch.setattr(schedule, "_spent", lambda: 1e6)
    records = decision.carry_out(schedule, store, listener)
    needed = [step for step in schedule.steps if step.strategy.is_needed]
    assert {record.id for record in records} == {record_id for step in needed for record_id in step.ids}
    assert listener.lines[-1].startswith("time is up; left out: lora; ")
    assert decision.answer(schedule, records, 10).verdict in {"tune", "prompt", "either", "neither"}


@pytest.mark.parametrize("method", ["ia3", None])
def test_what_was_decided_for_learns_from_all_rows_and_predicts(question, tmp_path, method):
    from peftbench.flow import predict

    schedule = question(Store(tmp_path / "results"))
    name = "ICL, 4 shots" if method is None else method
    step = next(step for step in schedule.steps if step.strategy.name == name)
    cell = schedule.on_all_rows(step)
    kept = keep.keep(cell, tmp_path / "mine", SILENT)
    assert kept.is_adapter is (method is not None)
    path = kept.folder if kept.is_adapter else kept.folder / "usage.json"
    assert str(path) in kept.command
    used = predict.open_usage(path)
    assert len(used.shots) == (0 if kept.is_adapter else 4)
    predictor = predict.load({"mine": path}, [used], None, "adapter", device="cpu")
    (chunk,) = predictor.predict([{"text": "a fine thing"}, {"text": "a broken thing"}])
    assert {prediction.answer for prediction in chunk} <= {"good", "bad"}
    if not kept.is_adapter:
        assert (kept.folder / "prompt.txt").read_text().count("Label:") == 4
    with pytest.raises(RecordError, match="is there already"):
        keep.check(tmp_path / "mine")


def test_a_task_toml_needs_nothing_to_be_assumed(folder, tmp_path):
    task, assumed = decision.read(folder / "rows.csv")
    path = tmp_path / "task.toml"
    path.write_text(assumed.to_toml(path))
    assert decision.read(path) == (TaskSpec(name=str(path)), None)
    model = {"model": str(folder / "model"), "device": "cpu"}
    schedules = [
        scheduled(spec, model, Split(folds=2), None, Store(tmp_path), SILENT)
        for spec in (task, TaskSpec(name=str(path)))
    ]
    assert schedules[0].pool == schedules[1].pool
