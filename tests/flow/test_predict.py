"""What was learned is used on the model that it was learned on: weights, config and tokenizer."""

from pathlib import Path

import pytest

from peftbench.adapters import starts
from peftbench.errors import MethodError, RecordError
from peftbench.flow import predict
from peftbench.flow.run import run
from peftbench.learners.progress import SILENT
from peftbench.models.load import load
from peftbench.spec.cell import Cell, IclOptions, TaskSpec
from peftbench.store.results import Store
from tests.flow.test_trial import mend_config, mend_tokenizer
from tests.tiny import tiny_folder

LONG = 165
"""Words that fit the model alone, and not after two shots."""


def learned(learner, model, tmp_path, **fields):
    """Learn from two rows; return the path that `predict` takes."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a fine day", "label": "good"}\n{"text": "rain", "label": "bad"}\n')
    task = TaskSpec(name="mine", train=rows, test=rows, template="{{text}} ||| {{label}}", choices=("good", "bad"))
    method = {"method": "ia3", "training": {"num_steps": 1}} if learner == "tune" else {}
    store = Store(tmp_path / "results")
    cell = Cell(learner=learner, model=str(model), task=task, shots=2, **method, **fields)
    (outcome,) = run([cell], store, SILENT)
    return (store.adapters / outcome.record.id) if learner == "tune" else store.location(outcome.record.id)


@pytest.mark.parametrize("learner", ["tune", "icl"])
def test_what_is_not_what_its_record_was_written_with_is_refused(learner, tmp_path):
    path = learned(learner, tiny_folder("llama", tmp_path / "model"), tmp_path)
    used = predict.open_usage(path)
    place = path / "usage.json" if learner == "tune" else tmp_path / "results" / "prompts" / path.name
    place.write_text(used.model_copy(update={"model": "another"}).text())  # whole, and of another run
    with pytest.raises(RecordError, match=r"is not what record \w+ was written with") as error:
        predict.open_usage(path)
    assert "--force" in error.value.hint


@pytest.mark.parametrize("learner", ["tune", "icl"])
@pytest.mark.parametrize("mend", [mend_config, mend_tokenizer])
def test_f4_another_config_or_tokenizer_than_it_was_learned_with_is_refused(learner, mend, tmp_path):
    model = tiny_folder("llama", tmp_path / "model")
    path = learned(learner, model, tmp_path)
    usages = [predict.open_usage(path)]
    assert usages[0].model_sha256
    predict.load({"": path}, usages, None, "adapter")
    mend(model)
    with pytest.raises(MethodError, match=r"another config\.json or tokenizer") as error:
        predict.load({"": path}, usages, None, "adapter")
    assert "--model" in error.value.hint


def test_shots_that_a_long_row_left_no_room_for_stand_before_the_rows_after_it(tmp_path, monkeypatch):
    """What a row gets hangs on no rows before it: a call that goes on ends in what one call gives."""
    monkeypatch.setattr(predict, "CHUNK", 1)
    path = learned("icl", tiny_folder("gpt2", tmp_path / "model"), tmp_path, icl=IclOptions(fit_shots=True))
    predictor = predict.load({"": path}, [predict.open_usage(path)], None, "adapter", device="cpu")
    rows = [{"text": "a fine night"}, {"text": "so " * LONG}]
    (short,), (long,), (again,) = predictor.predict([*rows, rows[0]])
    assert long.fault is None
    assert again.scores == short.scores
    whole = predict.open_usage(path).model_copy(update={"icl": IclOptions()})
    (alone,), (fault,) = predict.load({"": path}, [whole], None, "adapter", device="cpu").predict(rows)
    assert alone.scores == short.scores
    assert "2 shots and the longest query" in fault.fault


def test_f4_tuning_does_not_start_from_an_adapter_of_another_tokenizer(tmp_path):
    model = tiny_folder("llama", tmp_path / "model")
    start = starts.read(learned("tune", model, tmp_path))
    mend_tokenizer(model)
    with pytest.raises(MethodError, match=r"another config\.json or tokenizer"):
        starts.load(start, load(str(model), device="cpu"), [])


def test_f10_the_name_of_no_file_is_no_adapter():
    with pytest.raises(RecordError, match="256 characters"):
        predict.open_usage(Path("a" * 256))
