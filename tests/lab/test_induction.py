"""The planted circuit: an untrained model repeats what it has read, as soon as it is made."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from peftbench.lab.induction import plant_induction_heads


def untrained(planted: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
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


def test_a_planted_model_repeats_a_sequence_and_a_random_one_does_not() -> None:
    assert share_repeated(untrained(planted=True), period=20) > 0.6
    assert share_repeated(untrained(planted=False), period=20) < 0.05


def test_it_repeats_at_long_distance_too() -> None:
    assert share_repeated(untrained(planted=True), period=300) > 0.05


def test_the_first_head_looks_at_the_token_before() -> None:
    ids = torch.randint(0, 1000, (4, 100), generator=torch.Generator().manual_seed(0))
    attention = untrained(planted=True)(ids, output_attentions=True).attentions[0][:, 0]
    assert attention.diagonal(offset=-1, dim1=1, dim2=2).mean() > 0.6


def test_the_constant_component_moves_all_logits_alike() -> None:
    model = untrained(planted=True)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.lm_head.weight[:, 0].std() == 0
