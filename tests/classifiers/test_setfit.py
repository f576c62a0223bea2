"""SetFit against the library that trains it, and what is saved of it."""

import json
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from peftbench import registry
from peftbench.classifiers import saved, setfit
from peftbench.classifiers.logistic_regression import Regression
from peftbench.errors import MethodError, ModelError
from peftbench.models import sentence_model
from peftbench.selection.embedding import embed
from tests.models.test_sentence_model import CPU, sentence_folder

TEXTS = ["the premise says yes", "no", "question answer true", "false maybe", "it does follow", "or not"]
LABELS = [1, 0, 1, 0, 1, 0]
CONFIG = setfit.Config(num_iterations=2, batch_size=4, lr=1e-3)

pytest.importorskip("setfit")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return sentence_model.load(sentence_folder(tmp_path_factory.mktemp("setfit") / "model"), CPU)


@pytest.fixture(scope="module")
def trained(encoder):
    return setfit.train(encoder, TEXTS, LABELS, CONFIG, 3)


@pytest.fixture(scope="module")
def library(encoder):
    """The library's own model, trained by itself from end to end."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel, Trainer, TrainingArguments

    body = SentenceTransformer(encoder.name, device="cpu", local_files_only=True)
    arguments = TrainingArguments(
        num_iterations=2, batch_size=4, body_learning_rate=1e-3, seed=3, report_to="none", save_strategy="no",
        output_dir=str(Path(encoder.name).parent / "scratch"), show_progress_bar=False,
    )  # fmt: skip
    rows = Dataset.from_dict({"text": TEXTS, "label": LABELS})
    model = SetFitModel(model_body=body, model_head=LogisticRegression())
    with torch.random.fork_rng(), warnings.catch_warnings(action="ignore"):
        Trainer(model, arguments, train_dataset=rows).train()
    return model


def test_what_comes_out_is_what_the_library_makes_of_the_same_shots(encoder, trained, library):
    embeddings, _ = embed(trained.encoder, TEXTS)
    before, _ = embed(encoder, TEXTS)
    np.testing.assert_allclose(embeddings, library.encode(TEXTS, show_progress_bar=False), atol=1e-5)
    assert np.abs(embeddings - before).max() > 1e-2
    head = setfit.fit(embeddings, LABELS, 2, CONFIG)
    expected = library.predict_proba(TEXTS, as_numpy=True, show_progress_bar=False)
    np.testing.assert_allclose(head.probabilities(embeddings), expected, atol=1e-3)


def test_training_reads_two_texts_of_each_pair_and_there_are_two_pairs_for_each_shot_and_iteration(encoder, trained):
    assert len(trained.tokens) == setfit.num_trained(len(TEXTS), CONFIG) == 2 * 2 * 2 * 6
    assert set(trained.tokens) <= set(map(len, encoder.ids(TEXTS)))


def test_the_given_model_and_the_generators_stay_as_they_were(encoder, trained):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    again = setfit.train(encoder, TEXTS, LABELS, CONFIG, 3)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert again.encoder.fingerprint == trained.encoder.fingerprint != encoder.fingerprint
    np.testing.assert_array_equal(embed(again.encoder, TEXTS)[0], embed(trained.encoder, TEXTS)[0])
    assert encoder.fingerprint == sentence_model.fingerprint(Path(encoder.name))


def test_nothing_is_printed_where_results_are(encoder, capsys):
    setfit.train(encoder, TEXTS, LABELS, CONFIG, 0)
    assert capsys.readouterr().out == ""


def saved_to(folder, trained):
    embeddings, _ = embed(trained.encoder, TEXTS)
    head = setfit.fit(embeddings, LABELS, 3, CONFIG)
    saved.save(folder, "setfit", trained.encoder, head, {"usage.json": "{}"})
    return embeddings, head


def test_what_was_saved_answers_alike_and_is_a_folder_of_the_library(trained, tmp_path):
    from sentence_transformers import SentenceTransformer

    embeddings, head = saved_to(tmp_path / "kept", trained)
    encoder, read = saved.load(tmp_path / "kept", CPU)
    np.testing.assert_allclose(embed(encoder, TEXTS)[0], embeddings, atol=1e-6)
    np.testing.assert_allclose(read.probabilities(embeddings), head.probabilities(embeddings), atol=1e-12)
    theirs = SentenceTransformer(str(tmp_path / "kept"), device="cpu", local_files_only=True)
    np.testing.assert_allclose(theirs.encode(TEXTS, show_progress_bar=False), embeddings, atol=1e-5)
    assert (tmp_path / "kept" / "usage.json").read_text() == "{}"


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_head_that_was_saved_has_scikit_learns_probabilities(num_classes):
    shots = np.random.default_rng(0).normal(size=(12, 4))
    model = LogisticRegression().fit(shots, np.arange(12) % num_classes)
    linear = saved.Linear(model.coef_, model.intercept_, model.classes_)
    np.testing.assert_allclose(linear.predict_proba(shots), model.predict_proba(shots), atol=1e-12)
    assert Regression(linear, 4).probabilities(shots)[:, num_classes:].sum() == 0


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("classifier.json", None, "cannot read"),
        ("classifier.json", "{", "is damaged"),
        ("classifier.json", "[]", "has no digest"),
        ("classifier.json", '{"classifier": "setfit"}', "has no digest"),
        ("head.safetensors", None, "missing or damaged"),
        ("head.safetensors", "x", "is not the one that classifier.json names"),
        ("config.json", "edited", "is not the one that classifier.json names"),
        ("model.safetensors", None, "model.safetensors"),
    ],
)
def test_what_was_saved_and_changed_since_is_refused_in_one_line(trained, tmp_path, file, text, fault):
    saved_to(tmp_path / "kept", trained)
    path = tmp_path / "kept" / file
    if text == "edited":
        text = json.dumps(json.loads(path.read_text()) | {"layer_norm_eps": 1e-3})
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises((MethodError, ModelError)) as caught:
        saved.load(tmp_path / "kept", CPU)
    assert fault in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_classes_in_a_file_that_are_not_the_librarys_are_not_read(tmp_path):
    folder = sentence_folder(tmp_path / "model")
    path = folder / "modules.json"
    path.write_text(path.read_text().replace("sentence_transformers.models.Pooling", "os.path.Pooling"))
    with pytest.raises(ModelError, match=r"lists Transformer, os\.path\.Pooling, Normalize"):
        sentence_model.load(folder, CPU)


def test_it_is_a_classifier_that_tells_classes_apart():
    assert registry.is_classifier("setfit")
    assert registry.classifier("setfit").tells_apart
