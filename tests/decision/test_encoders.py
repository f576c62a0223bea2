"""An encoder as a rival: what is compared, where it runs, and what is kept of it."""

import json
from dataclasses import replace

import pytest

import peftbench
from peftbench import registry
from peftbench.cli.app import main
from peftbench.decision import decide as decision
from peftbench.decision import encoders, keep, schedule
from peftbench.decision.encoders import Encoder
from peftbench.decision.schedule import scheduled
from peftbench.decision.strategies import Split
from peftbench.errors import ModelError
from peftbench.flow import predict
from peftbench.learners.progress import SILENT
from peftbench.store.results import Store
from tests.costs.prices.files import API, H100, HAIKU, toml
from tests.decision.rows import Listener, write_model, write_rows
from tests.models.test_sentence_model import sentence_folder
from tests.tiny import tiny_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    write_rows(folder)
    write_model(folder)
    sentence_folder(folder / "sentence", most=20)
    return folder


@pytest.fixture(autouse=True)
def known_rate(monkeypatch):
    """Spare each schedule the second in which the machine's own rate is measured."""
    monkeypatch.setattr(schedule, "matmul_flops_per_second", lambda *_: 1e10)


@pytest.fixture
def without_setfit(monkeypatch):
    has = encoders._has
    monkeypatch.setattr(encoders, "_has", lambda package: package != "setfit" and has(package))


def planned(folder, tmp_path, encoder):
    task, _ = decision.read(folder / "rows.csv")
    model = {"model": str(folder / "model"), "device": "cpu"}
    return scheduled(task, model, Split(folds=2), 100.0, Store(tmp_path), SILENT, encoder=encoder)


def names(strategies):
    return [strategy.name.partition(" on ")[0] for strategy in strategies]


def test_a_named_encoder_has_a_regression_a_layer_and_setfit(monkeypatch):
    monkeypatch.setattr(encoders, "_has", lambda _: True)
    encoder = Encoder("e", is_asked_for=True, is_sentence_model=True, has_family=True)
    assert names(encoder.quick(40, 60)) == ["logistic regression", "a layer and lora"]
    assert names(encoder.slow(40)) == ["SetFit"]
    assert encoder.remark == ""
    assert encoder.quick(40, 60)[1].fields["training"] == {"num_steps": 60}
    assert replace(encoder, has_own_steps=True).quick(40, 60)[1].fields["training"] == {}
    plain = replace(encoder, is_sentence_model=False)
    assert plain.slow(40) == []
    assert plain.remark == "on e there is no SetFit (it is no sentence model)"
    foreign = replace(encoder, has_family=False)
    assert names(foreign.quick(40, 60)) == ["logistic regression"]
    assert foreign.remark == "on e there is no a layer with LoRA (the family of its config.json is not known here)"
    monkeypatch.setattr(encoders, "_has", lambda _: False)
    assert encoder.slow(40) == []
    assert "pip install 'peftbench[setfit]'" in encoder.remark


def test_a_sentence_model_that_is_installed_is_compared_by_what_takes_seconds(folder, monkeypatch):
    listener = Listener()
    installed = replace(registry.MINILM, package="no-such-package", name=str(folder / "sentence"))
    monkeypatch.setattr(registry, "SENTENCE_MODELS", {installed.name: installed})
    assert encoders.find(None) is None
    monkeypatch.setattr(registry.Packaged, "path", lambda _: folder / "sentence" / "model.safetensors")
    encoder = encoders.find(None, 9, listener)
    assert encoder == Encoder(installed.name, False, True, True, max_input_tokens=9)
    assert names(encoder.quick(40, 60)) == ["logistic regression"]
    assert encoder.slow(40) == []
    (line,) = listener.lines
    assert "is installed: logistic regression on its embeddings is compared, too, which takes seconds" in line
    assert encoders.find("none") is None
    monkeypatch.setattr(encoders, "_has", lambda _: False)
    assert encoders.find(None) is None


def test_a_model_that_writes_is_no_encoder(folder):
    with pytest.raises(ModelError, match="writes its answers, and an encoder does nothing but read"):
        encoders.find(str(folder / "model"))
    with pytest.raises(ModelError, match="unknown model 'no-such'"):
        encoders.find("no-such")


def test_a_masked_model_is_one_with_its_own_steps(tmp_path):
    path = tiny_folder("bert", tmp_path / "bert")
    (path / "peftbench.toml").write_text("[tune]\nnum_steps = 3\n")
    encoder = encoders.find(str(path))
    assert (encoder.is_sentence_model, encoder.has_family, encoder.has_own_steps) == (False, True, True)


def test_what_a_decision_needs_comes_first_and_the_models_cells_are_what_they_were(folder, tmp_path, without_setfit):
    encoder = encoders.find(str(folder / "sentence"), max_input_tokens=9)
    found, plain = planned(folder, tmp_path, encoder), planned(folder, tmp_path, None)
    of_encoder = [step for step in found.steps if step.cells[0].model == encoder.name]
    rest = [step for step in found.steps if step not in of_encoder]
    assert [step.ids for step in rest] == [step.ids for step in plain.steps]
    num_needed = sum(step.strategy.is_needed for step in rest)
    assert list(found.steps[num_needed : num_needed + 2]) == of_encoder
    assert all(step.seconds > 0 and step.is_chosen for step in of_encoder)
    assert [step.cells[0].scoring.answer for step in of_encoder] == [None, "head"]
    assert {step.cells[0].scoring.max_input_tokens for step in of_encoder} == {9}
    assert {step.cells[0].scoring.max_input_tokens for step in plain.steps} == {None}


@pytest.mark.parametrize("place", [0, 1])
def test_what_was_learned_on_an_encoder_is_kept_and_predicts(folder, tmp_path, without_setfit, place):
    found = planned(folder, tmp_path, encoders.find(str(folder / "sentence")))
    step = [step for step in found.steps if step.cells[0].model == str(folder / "sentence")][place]
    kept = keep.keep(found.on_all_rows(step), tmp_path / "mine", SILENT)
    path = kept.folder if kept.is_adapter else kept.folder / "usage.json"
    assert kept.is_adapter is (place == 1)
    assert str(path) in kept.command
    predictor = predict.load({"mine": path}, [predict.open_usage(path)], None, "adapter", device="cpu")
    (chunk,) = predictor.predict([{"text": "a fine thing"}, {"text": "a broken thing"}])
    assert {prediction.answer for prediction in chunk} <= {"good", "bad"}


def test_the_answer_names_the_encoder_and_its_price(folder, tmp_path, monkeypatch, capsys, without_setfit):
    monkeypatch.chdir(folder)
    words = ["decide", "rows.csv", "--model", "model", "--encoder", "sentence", "--folds", "2", "--device", "cpu"]
    words += ["--results", str(tmp_path)]
    assert main([*words, "--format", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    found = {candidate["method"]: candidate for candidate in answer["candidates"] if candidate["model"] == "sentence"}
    assert set(found) == {"logistic_regression", "lora"}
    assert all(candidate["total_flops"] > 0 for candidate in found.values())
    assert (answer["tuned"]["num_candidates"], answer["prompted"]["num_candidates"]) == (4, 6)
    assert "--encoder sentence" in answer["run_next"]
    (tmp_path / "prices.toml").write_text(toml(model=[HAIKU], hosting=[H100], training=[API]))
    words += ["--prices", str(tmp_path / "prices.toml")]
    assert main([*words, "--format", "html", "--out", str(tmp_path / "answer.html")]) == 0
    page = (tmp_path / "answer.html").read_text()
    assert "logistic_regression" in page
    assert "In money, for 1,000,000 queries in 30 days" in " ".join(page.split())
    records = peftbench.Store(tmp_path).all()
    assert {record.learned.method for record in records if record.model.name == "sentence"} == set(found)
