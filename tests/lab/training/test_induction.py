"""The planted circuit: an untrained model repeats what it has read, as soon as it is made."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from peftbench.lab.training.induction import plant_induction_heads


def untrained(planted: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config).eval()
    if planted:
        plant_induction_heads(model, seed=1)
    return model


def share_repeated(model: LlamaForCausalLM, period: int) -> float:
    """Share of tokens foretold when random sequences come a second time."""
    first = torch.randint(0, 1000, (8, period), generator=torch.Generator().manual_seed(0))
    ids = torch.cat([first, first], dim=1)
    with torch.no_grad():
        guess = model(ids).logits.argmax(-1)
    return (guess[:, period:-1] == ids[:, period + 1 :]).float().mean().item()


def share_answered(model: LlamaForCausalLM, text_length: int, noise: int) -> float:
    """Share right among ten labels that each follow a text and an arrow, when one of the texts is asked for again.

    `noise` of the query's tokens are other ones than in the shot.
    """
    rng = torch.Generator().manual_seed(0)
    texts = torch.randint(8, 1000, (16, 10, text_length), generator=rng)
    labels = torch.randint(8, 1000, (16, 10, 1), generator=rng)
    arrows, breaks = torch.full_like(labels, 7), torch.full_like(labels, 6)
    shots = torch.cat([texts, arrows, labels, breaks], dim=2).flatten(1)
    query = texts[:, 4].clone()
    query[:, :noise] = torch.randint(8, 1000, (16, noise), generator=rng)
    with torch.no_grad():
        logits = model(torch.cat([shots, query, arrows[:, 0]], dim=1)).logits[:, -1]
    return (logits.gather(1, labels[:, :, 0]).argmax(1) == 4).float().mean().item()


def test_a_planted_model_repeats_a_sequence_and_a_random_one_does_not() -> None:
    assert share_repeated(untrained(planted=True), period=20) > 0.6
    assert share_repeated(untrained(planted=False), period=20) < 0.05


def test_it_repeats_at_long_distance_too() -> None:
    assert share_repeated(untrained(planted=True), period=300) > 0.05


def test_it_answers_as_where_the_text_was_like_this_one() -> None:
    planted, random = untrained(planted=True), untrained(planted=False)
    assert share_answered(planted, text_length=5, noise=2) > 0.8
    assert share_answered(random, text_length=5, noise=2) < 0.4


def test_the_first_layers_look_back_by_distance() -> None:
    ids = torch.randint(0, 1000, (4, 200), generator=torch.Generator().manual_seed(0))
    attentions = untrained(planted=True)(ids, output_attentions=True).attentions
    for layer in (0, 2):
        assert attentions[layer][:, 0].diagonal(offset=-1, dim1=1, dim2=2).mean() > 0.8
    window = attentions[1][:, 0, 100:]  # (batch, query, key)
    share = [window.diagonal(offset=100 - distance, dim1=1, dim2=2).mean().item() for distance in range(20)]
    assert sum(share[1:11]) > 0.7
    assert max(range(20), key=share.__getitem__) == 5


def test_the_constant_component_moves_all_logits_alike() -> None:
    model = untrained(planted=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.lm_head.weight[:, 0].std() == 0
