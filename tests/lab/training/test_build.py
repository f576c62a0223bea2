"""`lab build`: an ordinary folder comes out, a kill changes nothing, and bad input is named."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from peftbench import registry
from peftbench.errors import ModelError, RunError
from peftbench.lab.text.batches import Material
from peftbench.lab.text.episodes import Stage, episode_stream
from peftbench.lab.training import build as lab_build
from peftbench.lab.training.train import StepLog
from peftbench.lab.world.world import World

WORLD = World.generate(0)
CONFIG = {
    "architecture": "LlamaForCausalLM",
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "head_dim": 8,
    "tie_word_embeddings": True,
}
SPEC: dict[str, Any] = {
    "material": f"{__name__}:material",
    "min_free_bytes": 1,
    "settings": "[tune]\nlr = 0.1\n",
    "card": "A model for a test.",
    "config": CONFIG,
    "tokenizer": {"vocab_size": 400, "append_eos": False, "max_length": 64, "num_merges": 50},
    "train": {"steps": 8, "warmup_steps": 2, "checkpoint_seconds": 0.0},
    "data": {},
}


def material(data: dict[str, Any], seed: int) -> Material:
    """Words in short episodes."""
    stages = [Stage(8, 32, {"word": 0.5, "text": 0.2, "binding": 0.2, "repeat": 0.1}, tokens=128)]
    return Material(
        [WORLD.passage(random.Random(i)) for i in range(20)],
        lambda tokenizer: episode_stream(WORLD, tokenizer, stages, seed),
        lambda model, tokenizer: {"a figure": 0.25},
    )


@pytest.fixture(autouse=True)
def tiny_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_spec(name: str, steps: int | None = None) -> dict[str, Any]:
        train = {**SPEC["train"], **({"steps": steps} if steps else {})}
        return {**SPEC, "name": name, "train": train}

    monkeypatch.setattr(lab_build, "read_spec", read_spec)


def losses(out: Path, **options: Any) -> list[float]:
    values: list[float] = []
    lab_build.build("mini-gpt", out, report=lambda log, _: values.append(log.loss), **options)
    return values


def test_the_folder_is_an_ordinary_one_in_half_precision_with_card_and_checksums(tmp_path: Path) -> None:
    out = tmp_path / "new" / "model"
    losses(out)
    names = {path.name for path in out.iterdir()}
    assert names == {*lab_build.HASHED, "README.md", "SHA256SUMS", "peftbench.toml"}
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.dtype == torch.float16
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert len(AutoTokenizer.from_pretrained(out)) == model.config.vocab_size == 400
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    card = (out / "README.md").read_text()
    assert "| steps | 8 |" in card
    assert "| a figure | 0.250 |" in card
    assert (out / "peftbench.toml").read_text() == SPEC["settings"]


def test_two_builds_have_the_same_losses_and_so_has_one_that_was_killed_and_resumed(tmp_path: Path) -> None:
    def die(log: StepLog, _: int) -> None:
        if log.step == 5:
            raise KeyboardInterrupt

    first, second = losses(tmp_path / "a"), losses(tmp_path / "b")
    assert first == second
    with pytest.raises(KeyboardInterrupt):
        lab_build.build("mini-gpt", tmp_path / "c", report=die)
    assert {path.name for path in (tmp_path / "c").iterdir()} == {lab_build.WORK}
    assert losses(tmp_path / "c") == first[5:]
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "c" / "model.safetensors").read_bytes()


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(ModelError, match=r"is not empty: it holds thesis\.txt"):
        losses(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_interrupted_build_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        lab_build.build("mini-gpt", tmp_path, report=lambda log, _: [1 // 0][0])  # type: ignore[arg-type,return-value]
    with pytest.raises(ModelError, match="interrupted build of something else"):
        losses(tmp_path, steps=9)


def test_an_unknown_device_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="device 'abacus' cannot be used") as caught:
        losses(tmp_path / "x", device="abacus")
    assert "cpu" in (caught.value.hint or "")
    assert not (tmp_path / "x").exists()


def test_too_little_room_is_said_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPEC, "min_free_bytes", 10**18)
    with pytest.raises(ModelError, match="MB free for"):
        losses(tmp_path / "x")


def test_a_disk_that_fills_up_says_so_and_the_build_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = losses(tmp_path / "whole")

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("peftbench.lab.training.build.finish", full)
        with pytest.raises(RunError, match="no space left"):
            losses(tmp_path / "x")
    assert losses(tmp_path / "x") == []
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "x")]
    assert len(whole) == 8
    assert weights[0] == weights[1]


def test_a_file_in_the_folders_place_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        losses(tmp_path / "file")


def test_an_unknown_model_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(ModelError, match="unknown lab model 'mini-gtp'") as caught:
        lab_build.read_spec("mini-gtp")
    assert "did you mean 'mini-gpt'" in (caught.value.hint or "")


def test_mini_gpts_stages_fill_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    spec = lab_build.read_spec("mini-gpt")
    assert sum(stage["steps"] for stage in spec["data"]["stages"]) == spec["train"]["steps"]


@pytest.mark.parametrize("name", registry.embedded_models())
def test_a_build_would_write_the_settings_that_are_shipped(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    shipped = registry.embedded_models()[name] / "peftbench.toml"
    assert lab_build.read_spec(name)["settings"] == shipped.read_text(encoding="ascii")
