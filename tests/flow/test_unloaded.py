"""What has its records already is told by files alone; weights are loaded when they are needed."""

import pytest

from peftbench.errors import ModelError
from peftbench.flow import trial
from peftbench.flow.run import run
from peftbench.models.load import load
from peftbench.models.unloaded import Unloaded
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.store.results import Store
from tests.tiny import tiny_folder


def cells(tmp_path, **fields):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a fine day", "label": "good"}\n{"text": "rain", "label": "bad"}\n')
    task = TaskSpec(name="mine", train=rows, test=rows, template="{{text}} ||| {{label}}", choices=("good", "bad"))
    model = str(tiny_folder("llama", tmp_path / "model"))
    return [Cell(learner="icl", model=model, task=task, shots=2, seed=seed, **fields) for seed in (0, 1)]


def test_a_run_of_finished_cells_loads_no_weights(tmp_path, monkeypatch):
    loaded, store, chosen = [], Store(tmp_path / "results"), cells(tmp_path)
    monkeypatch.setattr(trial, "load", lambda *words, **more: loaded.append(words) or load(*words, **more))
    records = [outcome.record for outcome in run(chosen[:1], store)]
    assert len(loaded) == 1
    assert [outcome.record for outcome in run(chosen[:1], store)] == records
    assert len(loaded) == 1
    assert [outcome.is_new for outcome in run(chosen, store)] == [False, True]
    assert len(loaded) == 2


@pytest.mark.parametrize("model", ["mini-gpt", "mini-t0", "llama"])
def test_what_tells_a_record_is_what_the_loaded_model_says(model, tmp_path):
    name = str(tiny_folder("llama", tmp_path / "model")) if model == "llama" else model
    whole, number = load(name, device="cpu"), []
    unloaded = Unloaded(name, None, False, lambda: number.append(1) or whole)
    for fact in ("name", "revision", "fingerprint", "model_sha256", "is_encoder_decoder", "sizes", "tables", "remote"):
        assert getattr(unloaded, fact) == getattr(whole, fact), fact
    assert unloaded.settings("ia3") == whole.settings("ia3")
    assert unloaded.tokenizer("a fine day").input_ids == whole.tokenizer("a fine day").input_ids
    assert not number
    assert unloaded.device == whole.device
    assert type(unloaded) is type(whole)
    assert vars(unloaded) is vars(whole)
    assert len(number) == 1


def test_damaged_weights_are_found_before_anything_is_computed(tmp_path):
    chosen = cells(tmp_path)
    path = tmp_path / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="is damaged"):
        list(run(chosen, Store(tmp_path / "results")))
    assert not (tmp_path / "results" / "records").exists()
