import torch

from peftbench.methods import prompt_tuning
from peftbench.models.encoding import encode
from peftbench.models.forward import choice_log_probs
from tests.tiny import tiny_backbone


def test_the_prompt_starts_as_embeddings_of_sampled_tokens_and_the_seed_decides_which():
    starts = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        backbone = tiny_backbone("t5")
        prompt_tuning.attach(backbone, prompt_tuning.Config(num_virtual_tokens=6))
        starts.append(backbone.soft_prompt().detach())
    table = backbone.embeddings.weight
    ids = [(table == row).all(-1).nonzero().item() for row in starts[0]]
    assert min(ids) >= 3
    assert len(set(ids)) > 1
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_an_encoder_decoder_scores_as_plain_transformers_does_with_the_prompt_before_the_encoders_input():
    backbone = tiny_backbone("t5")
    encoded = encode(backbone, "does it follow?", ["yes"], end="eos", separator="\n\n")
    prompt_tuning.attach(backbone, prompt_tuning.Config(num_virtual_tokens=4))
    embeds = torch.cat((backbone.soft_prompt(), backbone.embeddings(torch.tensor(encoded.context))))
    logits = tiny_backbone("t5").model(inputs_embeds=embeds[None], labels=torch.tensor(encoded.choices)).logits
    expected = logits.log_softmax(-1)[0].gather(-1, torch.tensor(encoded.choices).T)[:, 0]
    torch.testing.assert_close(choice_log_probs(backbone, [encoded])[0][0, 0], expected, atol=1e-5, rtol=1e-5)


def test_a_decoder_only_model_scores_as_plain_transformers_does_with_the_prompt_before_the_sequence():
    backbone = tiny_backbone("llama")
    encoded = encode(backbone, "does it follow?", ["yes it does"], end="none", separator="\n\n")
    prompt_tuning.attach(backbone, prompt_tuning.Config(num_virtual_tokens=4))
    ids = torch.tensor((*encoded.context, *encoded.choices[0]))
    embeds = torch.cat((backbone.soft_prompt(), backbone.embeddings(ids)))
    log_probs = tiny_backbone("llama").model(inputs_embeds=embeds[None]).logits.log_softmax(-1)[0, 3:-1]
    expected = log_probs.gather(-1, ids[:, None])[-(len(encoded.choices[0]) - encoded.starts[0]) :, 0]
    torch.testing.assert_close(choice_log_probs(backbone, [encoded])[0][0, 0], expected, atol=1e-5, rtol=1e-5)
