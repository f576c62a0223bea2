import pytest
import torch
from pydantic import ValidationError

from peftbench.methods import prompt_tuning
from peftbench.scoring.forward import choice_log_probs
from tests.scoring.prompts import encode_one
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
    assert max(ids) > len(table) // 2  # of six ids drawn from all of them
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


def test_an_encoder_decoder_scores_as_plain_transformers_does_with_the_prompt_before_the_encoders_input():
    backbone = tiny_backbone("t5")
    encoded = encode_one(backbone, "does it follow?", ["yes"], end="eos", separator="\n\n")
    prompt_tuning.attach(backbone, prompt_tuning.Config(num_virtual_tokens=4))
    embeds = torch.cat((backbone.soft_prompt(), backbone.embeddings(torch.tensor(encoded.context))))
    logits = tiny_backbone("t5").model(inputs_embeds=embeds[None], labels=torch.tensor(encoded.choices)).logits
    expected = logits.log_softmax(-1)[0].gather(-1, torch.tensor(encoded.choices).T)[:, 0]
    torch.testing.assert_close(choice_log_probs(backbone, [encoded])[0][0, 0], expected, atol=1e-5, rtol=1e-5)


def test_a_decoder_only_model_scores_as_plain_transformers_does_with_the_prompt_before_the_sequence():
    backbone = tiny_backbone("llama")
    encoded = encode_one(backbone, "does it follow?", ["yes it does"], end="none", separator="\n\n")
    prompt_tuning.attach(backbone, prompt_tuning.Config(num_virtual_tokens=4))
    ids = torch.tensor((*encoded.context, *encoded.choices[0]))
    embeds = torch.cat((backbone.soft_prompt(), backbone.embeddings(ids)))
    log_probs = tiny_backbone("llama").model(inputs_embeds=embeds[None]).logits.log_softmax(-1)[0, 3:-1]
    expected = log_probs.gather(-1, ids[:, None])[-(len(encoded.choices[0]) - encoded.starts[0]) :, 0]
    torch.testing.assert_close(choice_log_probs(backbone, [encoded])[0][0, 0], expected, atol=1e-5, rtol=1e-5)


def test_a_text_starts_the_first_rows_token_by_token_and_sampled_vocabulary_the_rest():
    backbone = tiny_backbone("t5")
    config = prompt_tuning.Config(num_virtual_tokens=6, init="text", text="yes true question")
    prompt_tuning.attach(backbone, config)
    ids = backbone.tokenizer("yes true question", add_special_tokens=False).input_ids
    prompt, table = backbone.soft_prompt(), backbone.embeddings.weight
    count = min(6, len(ids))
    assert torch.equal(prompt[:count], table[ids[:count]])
    assert all((table == row).all(-1).any() for row in prompt)


def test_uniform_values_lie_within_the_bound():
    backbone = tiny_backbone("llama")
    prompt_tuning.attach(backbone, prompt_tuning.Config(num_virtual_tokens=50, init="uniform", uniform_bound=0.25))
    prompt = backbone.soft_prompt()
    assert 0.2 < prompt.abs().max() <= 0.25
    assert abs(prompt.mean()) < 0.05


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_labels_start_rows_as_the_mean_of_their_tokens_without_the_end(family):
    backbone = tiny_backbone(family)
    config = prompt_tuning.Config(num_virtual_tokens=3, init="labels")
    choices = ["yes", "no it does not"]
    example = encode_one(backbone, "does it follow?", choices, end="eos", separator="\n\n", label=0)
    prompt_tuning.attach(backbone, config)
    prompt_tuning.prepare(backbone, config, [[example]], None)
    texts = choices if family == "t5" else [f" {choice}" for choice in choices]
    ids = [backbone.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    means = torch.stack([backbone.embeddings.weight[each].mean(0) for each in ids])
    torch.testing.assert_close(backbone.soft_prompt()[:2], means)


@pytest.mark.parametrize("wrong", [{"init": "text"}, {"text": "hello"}, {"num_virtual_tokens": 0}, {"init": "random"}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        prompt_tuning.Config(**wrong)
