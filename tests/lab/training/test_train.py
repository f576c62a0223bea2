"""The trainer: it learns, its schedule is the one described, and a kill changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from peftbench.lab.text.batches import Batch, _seq2seq_batch, causal_batch, step_random
from peftbench.lab.training.train import StepLog, TrainSettings, lr_factor, make_optimizers, train, weighted_loss

SETTINGS = TrainSettings(steps=12, warmup_steps=2, checkpoint_seconds=0.0)


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    return LlamaForCausalLM(config)


def counting(step: int) -> list[Batch]:
    """Rows n, n + 1, n + 2, ... modulo 17."""
    rng = step_random(0, step)
    starts = [rng.randrange(17) for _ in range(8)]
    rows = [[3 + (start + i) % 17 for i in range(8)] for start in starts]
    return [causal_batch(rows[:4], [[1.0] * 8] * 4), causal_batch(rows[4:], [[1.0] * 8] * 4)]


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    logs = train(tiny_llama(), counting, TrainSettings(steps=60, warmup_steps=5), tmp_path)
    assert logs[-1].loss < 0.8 * logs[0].loss
    assert logs[0].num_tokens == 64


def test_a_killed_and_resumed_run_has_the_losses_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def die_at_step_7(log: StepLog) -> None:
        if log.step == 7:
            raise KeyboardInterrupt

    whole = train(tiny_llama(), counting, SETTINGS, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tiny_llama(), counting, SETTINGS, tmp_path / "killed", report=die_at_step_7)
    resumed_steps: list[int] = []
    resumed = train(
        tiny_llama(), counting, SETTINGS, tmp_path / "killed", report=lambda log: resumed_steps.append(log.step)
    )
    assert resumed_steps == [7, 8, 9, 10, 11]
    assert [log.loss for log in resumed] == [log.loss for log in whole]


def test_micro_batches_add_up_to_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    def whole(step: int) -> list[Batch]:
        parts = counting(step)
        inputs = {"input_ids": torch.cat([part.inputs["input_ids"] for part in parts])}
        targets = torch.cat([part.targets for part in parts])
        weights = torch.cat([part.weights for part in parts])
        return [Batch(inputs, targets, weights, 64)]

    split = train(tiny_llama(), counting, SETTINGS, tmp_path / "split")
    joined = train(tiny_llama(), whole, SETTINGS, tmp_path / "joined")
    assert [log.loss for log in split] == pytest.approx([log.loss for log in joined], abs=1e-4)


def test_the_loss_is_the_mean_over_pairs_of_transformers_own() -> None:
    config = T5Config(
        vocab_size=20,
        d_model=16,
        d_kv=8,
        d_ff=24,
        num_layers=1,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
    )
    model = T5ForConditionalGeneration(config)
    batch = _seq2seq_batch([([5, 6, 7, 1], [8, 1]), ([5, 1], [9, 10, 11, 1])], max_tokens=10)
    losses = [
        model(
            input_ids=batch.inputs["input_ids"][row],
            attention_mask=batch.inputs["attention_mask"][row],
            labels=batch.targets[row],
        ).loss.item()
        for row in ([0], [1])
    ]
    loss = weighted_loss(model, batch, "cpu") / batch.weights.sum()
    assert loss.item() == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert batch.num_tokens == 6 + 6


def test_t5s_small_query_matrices_take_small_steps() -> None:
    config = T5Config(vocab_size=20, d_model=16, d_kv=4, d_ff=24, num_layers=1, num_heads=2)
    muon = make_optimizers(T5ForConditionalGeneration(config), TrainSettings(steps=1))[0]
    shares = {group["share"]: len(group["params"]) for group in muon.param_groups}
    assert shares == {1.0: 13, 0.5: 3}  # three attentions; their k, v, o and the two feed-forward blocks' wi, wo


def test_the_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    settings = TrainSettings(steps=100, warmup_steps=10, decay_share=0.5)
    assert lr_factor(0, settings) == pytest.approx(0.1)
    assert lr_factor(30, settings) == 1.0
    assert lr_factor(75, settings) == pytest.approx(0.5)
    assert lr_factor(99, settings) == pytest.approx(0.02)


def test_muon_gets_the_hidden_matrices_and_adamw_embeddings_and_norms() -> None:
    model = tiny_llama()
    muon, adamw = make_optimizers(model, SETTINGS)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    hidden = {names[id(p)] for p in muon.param_groups[0]["params"]}
    assert len(hidden) == 7
    assert all("_proj" in name for name in hidden)
    outer = {names[id(p)] for p in adamw.param_groups[0]["params"]}
    assert outer == set(names.values()) - hidden
