"""What is Phi-3's own: layers that hold several roles, windows, and positions whose angles depend on the length."""

import json

import pytest
import torch

from peftbench.costs.describe import describe
from peftbench.errors import ModelError
from peftbench.models.load import load
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring
from tests.models.test_backbone import outputs, scale_weights
from tests.scoring.prompts import SEPARATOR, example, prompts
from tests.scoring.test_score import assert_equal_scores, by_plain_transformers, log_probs
from tests.tiny import WINDOW, tiny_backbone, tiny_folder

LONG = {"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.7}
# One factor for all angles: transformers wants as many as a head of hidden_size / num_attention_heads would have.
LONG |= {"short_factor": [1.5], "long_factor": [7.0], "original_max_position_embeddings": 64}


def folder(path, **changes):
    config = tiny_folder("phi3", path / "phi3") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    return config.parent


@pytest.mark.parametrize(
    ("twice", "half", "cancel"),
    [("q", "k", True), ("v", "o", True), ("ff_up", "ff_hidden", True), ("ff_gate", "ff_hidden", False)],
)
def test_a_slice_is_what_its_role_says(twice, half, cancel):
    backbone = tiny_backbone("phi3")
    expected = outputs(backbone)
    for role, factor in ((twice, 2), (half, 0.5)):
        for site in backbone.sites(role):
            scale_weights(backbone, site, factor)
    assert torch.allclose(outputs(backbone), expected, atol=1e-5) == cancel


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": WINDOW},
        {"rope_parameters": LONG, "original_max_position_embeddings": 64},
        {"resid_pdrop": 0.5, "attention_dropout": 0.5},
    ],
    ids=["window", "long positions", "dropout"],
)
def test_each_choice_scores_as_it_does_alone_in_the_plain_model(changes, cache, tmp_path):
    path, batch = folder(tmp_path, **changes), prompts(6, num_shots=1)
    found = score(load(str(path), device="cpu"), batch, Scoring(end="eos", separator=SEPARATOR, cache=cache))
    assert_equal_scores(log_probs(found), by_plain_transformers(path, batch, "eos"))


def test_a_text_that_would_turn_by_other_angles_is_refused_and_the_last_one_that_does_not_is_exact(tmp_path, remarks):
    path = folder(tmp_path, rope_parameters=LONG, original_max_position_embeddings=64)
    backbone = load(str(path), device="cpu")
    assert backbone.max_positions == describe(str(path)).shape.max_positions == 64
    assert remarks == []  # transformers has advice on such a config
    longest = [example("yes" + " yes" * 62, ("no", "yes")), example("no yes", ("no", "yes"))]
    found = score(backbone, longest, Scoring(end="none", separator=SEPARATOR))
    assert_equal_scores(log_probs(found), by_plain_transformers(path, longest, "none"))
    longer = [example("yes" + " yes" * 64, ("no", "yes"))]
    with pytest.raises(ModelError, match=r"a prompt has 65 tokens, and '.*' takes 64"):
        score(backbone, longer, Scoring(end="none", separator=SEPARATOR))


def test_a_window_that_no_text_can_leave_is_none():
    backbone = tiny_backbone("phi3")
    for window, is_windowed in ((None, False), (511, True), (512, False), (262_144, False)):
        backbone.model.config.sliding_window = window
        assert backbone.is_windowed == is_windowed
