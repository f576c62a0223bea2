import pytest
import torch
from peft import PromptEncoder, PromptEncoderConfig

from peftbench.methods import p_tuning
from tests.tiny import tiny_backbone


@pytest.mark.parametrize("encoder", ["lstm", "mlp"])
def test_the_prompt_is_that_of_pefts_encoder(encoder):
    config = PromptEncoderConfig(
        encoder_reparameterization_type=encoder.upper(), encoder_hidden_size=5, num_virtual_tokens=4, token_dim=16,
        num_transformer_submodules=1, encoder_dropout=0.0, inference_mode=False,
    )  # fmt: skip
    theirs, ours = PromptEncoder(config), p_tuning.PromptEncoder(4, 16, 5, encoder)
    renamed = {"embedding.weight": "E"}
    state = {
        renamed.get(name, name.replace("lstm_head", "lstm").replace("mlp_head", "mlp")): value
        for name, value in theirs.state_dict().items()
    }
    ours.load_state_dict(state)
    torch.testing.assert_close(ours(), theirs(torch.arange(4)[None])[0], atol=1e-6, rtol=1e-5)


def test_when_it_finishes_the_network_is_gone_and_its_prompt_is_left():
    backbone = tiny_backbone("gpt2")
    p_tuning.attach(backbone, p_tuning.Config(num_virtual_tokens=3))
    prompt = backbone.soft_prompt().detach()
    assert p_tuning.finish(backbone, p_tuning.Config(num_virtual_tokens=3)) == ["soft_prompt.P"]
    torch.testing.assert_close(backbone.soft_prompt(), prompt)
    added = [name for name, _ in backbone.model.named_parameters() if name not in backbone.base_names]
    assert added == ["soft_prompt.P"]


def test_a_virtual_token_depends_on_all_others_through_the_lstm_only():
    for encoder, expected in (("lstm", True), ("mlp", False)):
        network = p_tuning.PromptEncoder(3, 4, 5, encoder)
        network()[0].sum().backward()
        assert bool(network.E.grad[2].any()) == expected
