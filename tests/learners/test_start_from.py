"""Training goes on from what was saved: for every method, whatever became of it when its own training ended."""

import pytest
import torch

from peftbench import registry
from peftbench.adapters import saved, starts
from peftbench.errors import MethodError
from peftbench.learners import tune
from peftbench.spec.cell import Training
from tests.learners.toy import RAGGED, ROWS, TEMPLATE, scoring
from tests.tiny import tiny_backbone

EXAMPLES = [[template.render(row) for template in (TEMPLATE, RAGGED)] for row in ROWS[:4]]
QUERIES = [RAGGED.render(row) for row in ROWS[4:8]]
SETTINGS = {
    "prefix_tuning": {"reparameterize": True, "hidden_size": 5},
    "intrinsic_said": {"intrinsic_dimension": 40},
    "intrinsic_dimension": {"intrinsic_dimension": 40},
}


@pytest.fixture(scope="module")
def loaded():
    return tiny_backbone("t5")


@pytest.fixture
def backbone(loaded):
    yield loaded
    loaded.detach_all()


def learn(backbone, method, config, num_steps, start=None):
    training = Training(num_steps=num_steps, batch_size=4, lr=0.05, scale_parameter=False)
    return tune.learn(tune.Tuning(method, config, training, EXAMPLES, start=start), backbone, scoring(backbone))


def save_tuned(folder, backbone, method, **settings):
    """Tune a little and save; the values that were trained, and the scores."""
    config = registry.method(method).Config(**settings)
    predictor = learn(backbone, method, config, num_steps=3)
    saved.save(folder, backbone, method, config, predictor.names)
    scores = predictor.score(QUERIES).choices
    backbone.detach_all()
    return starts.read(folder), scores


def resolved(start):
    return registry.method(start.method).Config(**start.settings(start.method, {}))


@pytest.mark.parametrize("method", registry.METHODS)
def test_saved_started_from_and_not_trained_it_scores_as_it_did(backbone, method, tmp_path):
    start, before = save_tuned(tmp_path / "a", backbone, method, **SETTINGS.get(method, {}))
    config = resolved(start)
    resumed = learn(backbone, method, config, num_steps=0, start=start)
    assert log_probs(resumed.score(QUERIES).choices) == pytest.approx(log_probs(before), abs=1e-5)
    backbone.detach_all()
    further = learn(backbone, method, config, num_steps=3, start=start)
    assert log_probs(further.score(QUERIES).choices) != pytest.approx(log_probs(before), abs=1e-5)


def log_probs(choices):
    return [choice.log_prob for each in choices for choice in each]


def test_what_was_asked_for_must_be_what_the_adapter_has(backbone, tmp_path):
    start, _ = save_tuned(tmp_path / "a", backbone, "lora", rank=2)
    assert start.settings("lora", {"rank": 2})["rank"] == 2
    with pytest.raises(MethodError, match="has rank = 2, and rank = 3 was asked for"):
        start.settings("lora", {"rank": 3})
    with pytest.raises(MethodError, match="is one of lora, and ia3 cannot start from it") as error:
        start.settings("ia3", {})
    assert error.value.hint == "--method lora"


def test_a_folded_network_goes_on_folded(backbone, tmp_path):
    start, _ = save_tuned(tmp_path / "a", backbone, "prefix_tuning", reparameterize=True, hidden_size=5)
    assert start.settings("prefix_tuning", {})["reparameterize"] is False


def test_another_model_is_refused_and_nothing_stays_attached(backbone, tmp_path):
    start, _ = save_tuned(tmp_path / "a", backbone, "ia3")
    other = tiny_backbone("t5-v1.0")
    parts = list(other.model.modules())
    tuning = tune.Tuning("ia3", resolved(start), Training(), EXAMPLES, start=start)
    with pytest.raises(MethodError, match="other weights"):
        tune.check(tuning, other, scoring(other))
    assert list(other.model.modules()) == parts


def test_a_fishmask_goes_on_at_the_places_that_it_had(backbone, tmp_path):
    start, _ = save_tuned(tmp_path / "a", backbone, "fishmask")
    there = saved.tensors(start.path, saved.read(start.path))["fishmask.places"]
    learn(backbone, "fishmask", resolved(start), num_steps=2, start=start)
    assert torch.equal(backbone.model.get_buffer("fishmask.places"), there)
