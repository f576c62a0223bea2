"""What is Gemma's own among the models of Llama's shape."""

import json

import pytest
import torch

from peftbench.costs.describe import describe
from peftbench.errors import CostError, ModelError
from peftbench.methods import prompt_tuning
from peftbench.models.load import load
from tests.tiny import GEMMAS, tiny_backbone, tiny_folder


@pytest.mark.parametrize("family", [*GEMMAS, "phi3"])
def test_a_soft_prompt_starts_as_what_the_model_makes_of_the_tokens(family):
    backbone = tiny_backbone(family)
    ids = backbone.tokenizer("yes true question", add_special_tokens=False).input_ids
    states = backbone.model(torch.tensor([ids]), output_hidden_states=True).hidden_states[0][0]
    config = prompt_tuning.Config(num_virtual_tokens=len(ids), init="text", text="yes true question")
    prompt_tuning.attach(backbone, config)
    assert torch.equal(backbone.soft_prompt(), states)
    backbone.detach_all()
    prompt_tuning.attach(backbone, prompt_tuning.Config(num_virtual_tokens=4))
    table = backbone.embeddings.weight * (4 if family in GEMMAS else 1)  # sqrt(16)
    assert all(((table - row).abs() < 1e-6).all(-1).any() for row in backbone.soft_prompt())


def test_a_model_that_looks_ahead_is_refused(tmp_path):
    config = tiny_folder("gemma", tmp_path) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_bidirectional_attention": True}))
    with pytest.raises(ModelError, match="use_bidirectional_attention"):
        load(str(tmp_path), device="cpu")
    with pytest.raises(CostError, match=r"config\.json': .*use_bidirectional_attention"):
        describe(str(tmp_path))
