"""Packed weights: the scores and the training of the dense matrices that they unpack to."""

import importlib.metadata
import importlib.util
import json

import pytest
import torch

from peftbench import registry
from peftbench.errors import MethodError, ModelError
from peftbench.models import load as load_module
from peftbench.models import quantized
from peftbench.models.load import load
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring
from tests.gguf_files import write
from tests.models.test_devices import EXAMPLES, SMALL, learned
from tests.tiny import tiny_backbone, tiny_folder

ADDING = ("ia3", "lora", "prompt_tuning", "p_tuning", "prefix_tuning", "bitfit", "bottleneck", "compacter")
ADDING += ("compacter_pp", "adalora")
RULE = Scoring(end="eos")

needs_bitsandbytes = pytest.mark.skipif(
    not importlib.util.find_spec("bitsandbytes"), reason="needs pip install 'peftbench[bitsandbytes]'"
)


@pytest.fixture(scope="module")
def packed():
    return {bits: load("mini-gpt", device="cpu", bits=bits) for bits in quantized.KINDS}


@pytest.fixture(scope="module")
def dense(packed):
    """The model with the matrices that the packed ones are unpacked to, by bitsandbytes' own functions."""
    from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant

    backbones = {bits: load("mini-gpt", device="cpu") for bits in packed}
    for name, module in packed["4bit"].model.named_modules():
        if (weight := getattr(module, "weight", None)) is not None and hasattr(weight, "quant_state"):
            whole = backbones["4bit"].model.get_submodule(name)
            whole.weight.data = dequantize_4bit(weight.data, weight.quant_state)
            eight, whole = (group["8bit"].model.get_submodule(name) for group in (packed, backbones))
            whole.weight.data = int8_vectorwise_dequant(eight.state.CB, eight.state.SCB)
    return backbones


def values(scores):
    return torch.tensor([choice.log_prob for choices in scores.choices for choice in choices])


@needs_bitsandbytes
@pytest.mark.parametrize(("bits", "name"), [*((("4bit", name)) for name in ADDING), ("8bit", "ia3"), ("8bit", "lora")])
def test_a_method_that_adds_learns_what_it_learns_on_the_unpacked_matrices(packed, dense, bits, name):
    ours, expected = learned(packed[bits], name, {}), learned(dense[bits], name, {})
    assert ours.log[0] == pytest.approx(expected.log[0], abs=1e-5)
    for full, value in expected.values.items():
        torch.testing.assert_close(ours.values[full], value, atol=1e-4, rtol=1e-3)
    for found, wanted in zip(ours.choices, expected.choices, strict=True):
        for scored, reference in zip(found, wanted, strict=True):
            assert [x.log_prob for x in scored] == pytest.approx([x.log_prob for x in reference], abs=2e-3)


@needs_bitsandbytes
def test_training_after_scoring_has_the_same_gradients(packed):
    """Where a CPU has a kernel without gradients, scoring would lay the matrices out for it."""
    backbone = packed["4bit"]
    first = learned(backbone, "lora", {})
    score(backbone, EXAMPLES, RULE)
    again = learned(backbone, "lora", {})
    assert all(torch.equal(value, again.values[name]) for name, value in first.values.items())
    assert not any(getattr(module, "support_avx512bf16_for_cpu", False) for module in backbone.model.modules())


@needs_bitsandbytes
@pytest.mark.parametrize("name", [name for name in registry.METHODS if name not in ADDING])
@pytest.mark.parametrize("bits", quantized.KINDS)
def test_a_method_that_changes_the_weights_is_refused(packed, bits, name):
    with pytest.raises(MethodError, match=r"weights, and those of 'mini-gpt' are packed \(--load\)") as caught:
        learned(packed[bits], name, SMALL.get(name, {}))
    assert "LoRA, (IA)^3" in caught.value.hint
    assert not packed[bits].inserted


@needs_bitsandbytes
@pytest.mark.parametrize(("name", "settings"), [("lora", {"layer_norms": True}), ("bitfit", {"layer_norms": True})])
def test_norms_beside_a_method_are_refused_too(packed, name, settings):
    with pytest.raises(MethodError, match="changes the model's own weights"):
        learned(packed["4bit"], name, settings)


@needs_bitsandbytes
def test_a_method_of_peft_is_refused(packed):
    pytest.importorskip("peft")
    with pytest.raises(MethodError, match="is peft's, which reads the model's own weights"):
        learned(packed["4bit"], "peft:LORA", {})


@needs_bitsandbytes
def test_what_is_packed_is_counted(packed):
    whole = load("mini-gpt", device="cpu")
    sizes = whole.sizes
    assert {backbone.num_parameters for backbone in packed.values()} == {whole.num_parameters}
    assert {backbone.dtype for backbone in packed.values()} == {torch.float32}
    inside = [parameter for name, parameter in whole.model.named_parameters() if "_proj." in name]
    numbers = sum(parameter.numel() for parameter in inside)
    assert numbers % sizes.d_model == 0
    facts = packed["4bit"].facts
    assert facts["quantization"] == "NF4"
    # Half a byte for each; a byte for each block of 64, and for each 256 of these four; tables beside each matrix.
    others = 4 * (whole.num_parameters - numbers)
    exact = others + numbers / 2 + numbers / 64 + 4 * sum(-(-p.numel() // (64 * 256)) for p in inside)
    beside = len(inside) * (4 * (16 + 256) + 300)
    assert exact < facts["weight_bytes"] < exact + beside
    # A byte for each, and a float32 for each row.
    exact = others + numbers + 4 * sum(len(parameter) for parameter in inside)
    assert exact <= packed["8bit"].facts["weight_bytes"] < exact + 100 * len(inside)
    assert "weight_bytes" not in whole.facts


@needs_bitsandbytes
def test_the_bytes_of_the_weights_are_not_those_of_what_is_attached(packed):
    before = packed["4bit"].facts["weight_bytes"]
    method = registry.method("lora")
    method.attach(packed["4bit"], method.Config())
    after = packed["4bit"].facts["weight_bytes"]
    packed["4bit"].detach_all()
    assert after == before


@needs_bitsandbytes
def test_scores_are_those_of_transformers_own_packed_model(packed):
    """Its logits on the same tokens, without this package's attention, encoding and scoring."""
    from transformers import AutoModelForCausalLM

    backbone = packed["4bit"]
    settings = {"quantization_config": quantized.config("4bit", torch.float32), "dtype": torch.float32}
    folder = registry.embedded_models()["mini-gpt"]
    with load_module.quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, device_map={"": "cpu"}, **settings).eval()
    quantized.settle(model)
    for example in EXAMPLES:
        found = values(score(backbone, [example], Scoring(end="none")))
        expected = [of_transformers(model, backbone.tokenizer, example.input, choice) for choice in example.choices]
        assert found.tolist() == pytest.approx(expected, abs=2e-5)


@needs_bitsandbytes
@pytest.mark.parametrize("bits", quantized.KINDS)
def test_a_score_does_not_depend_on_what_stands_beside_it(packed, bits):
    together = values(score(packed[bits], EXAMPLES, RULE))
    alone = torch.cat([values(score(packed[bits], [example], RULE)) for example in EXAMPLES])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def of_transformers(model, tokenizer, context, choice):
    """Sum up the log-probabilities of a choice's tokens after a context."""
    start, ids = len(tokenizer(context).input_ids), tokenizer(f"{context} {choice}").input_ids
    with torch.no_grad():
        log_probs = model(torch.tensor([ids])).logits[0].log_softmax(-1)  # (tokens, vocab_size)
    return sum(float(log_probs[place - 1, ids[place]]) for place in range(start, len(ids)))


# --- refused, with bitsandbytes or without


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(quantized, "check", lambda bits: None)


@pytest.mark.parametrize("bits", quantized.KINDS)
def test_encoder_decoders_are_refused(bits, installed):
    with pytest.raises(ModelError, match=f"--load {bits} is for decoder-only models"):
        load("mini-t0", device="cpu", bits=bits)


def test_encoder_only_models_are_refused(tmp_path, installed):
    folder = tiny_folder("bert", tmp_path / "model")
    with pytest.raises(ModelError, match=r"is for decoder-only models, and .* is an encoder-only model"):
        load(str(folder), device="cpu", bits="4bit")


def test_a_file_of_quantised_weights_is_refused(tmp_path, installed):
    path = write(tmp_path / "tiny.gguf", tiny_backbone("llama").model)
    with pytest.raises(ModelError, match="is a GGUF file"):
        load(str(path), device="cpu", bits="4bit")


@pytest.mark.parametrize("bits", [None, "4bit"])
def test_a_folder_of_packed_weights_is_refused(tmp_path, bits, installed):
    folder = tiny_folder("llama", tmp_path / "model")
    table = json.loads((folder / "config.json").read_text())
    table["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (folder / "config.json").write_text(json.dumps(table))
    with pytest.raises(ModelError, match="quantised in their files"):
        load(str(folder), device="cpu", bits=bits)


def test_without_bitsandbytes_it_is_one_line(monkeypatch):
    def version(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(MethodError, match="--load 4bit needs the package bitsandbytes") as caught:
        load("mini-gpt", device="cpu", bits="4bit")
    assert caught.value.hint == "pip install 'peftbench[bitsandbytes]'"
