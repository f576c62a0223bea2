import pytest
import torch
from peft import PromptEncoder, PromptEncoderConfig, get_peft_model

from peftbench.methods import p_tuning
from peftbench.scoring.forward import choice_log_probs
from tests.scoring.prompts import encode_one
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


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("encoder", ["lstm", "mlp"])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers
def test_a_causal_model_answers_as_pefts_does(family, encoder):
    """Same weights in, same log-probabilities of the answer's tokens out."""
    config = PromptEncoderConfig(
        task_type="CAUSAL_LM", encoder_reparameterization_type=encoder.upper(), encoder_hidden_size=5,
        num_virtual_tokens=4, encoder_dropout=0.0,
    )  # fmt: skip
    ours, theirs = tiny_backbone(family), get_peft_model(tiny_backbone(family).model, config).eval()
    p_tuning.attach(ours, p_tuning.Config(num_virtual_tokens=4, encoder=encoder, hidden_size=5))
    names = {"embedding.weight": "E"}
    state = theirs.prompt_encoder["default"].state_dict()
    ours.soft_prompt.load_state_dict(
        {names.get(n, n.replace("lstm_head", "lstm").replace("mlp_head", "mlp")): value for n, value in state.items()}
    )
    encoded = encode_one(ours, "does it follow?", ["yes it does"], end="none", separator="\n\n")
    ids = torch.tensor((*encoded.context, *encoded.choices[0]))
    answer = ids[len(encoded.context) + encoded.starts[0] :]
    with torch.no_grad():
        logits = theirs(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0]
        expected = logits.log_softmax(-1)[-1 - len(answer) : -1].gather(-1, answer[:, None])[:, 0]
        found = choice_log_probs(ours, [encoded])[0][0, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
