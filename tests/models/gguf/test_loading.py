"""GGUF files against the models that they were written from, and against transformers' own loading."""

import hashlib

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from peftbench.errors import ModelError
from peftbench.models import load as loading
from peftbench.models.load import load, read_config
from tests.gguf_files import CONFIGS, gguf, stored, tiny_model, write
from tests.tiny import tiny_tokenizer

TEXT = "the premise says 12 a  3\n\n4 it's <s> é"


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_file_computes_what_the_model_computes_that_it_was_written_from(family, tied, tmp_path):
    model = tiny_model(family, tie_word_embeddings=tied)
    backbone = load(str(write(tmp_path / "tiny.gguf", model)), device="cpu")
    ids = backbone.tokenizer(TEXT).input_ids
    torch.testing.assert_close(logits(backbone.model, ids), logits(model, ids), rtol=0, atol=1e-5)
    for name, tensor in model.state_dict().items():
        assert torch.equal(backbone.model.state_dict()[name], tensor), name
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("quantization", ["Q4_1", "Q8_0", "Q4_0", "F16"])
def test_quantised_weights_are_the_ones_that_the_package_gguf_and_transformers_make_of_them(quantization, tmp_path):
    pytest.importorskip("accelerate", reason="transformers reads GGUF files with it")
    model = tiny_model("llama")
    path = write(tmp_path / "tiny.gguf", model, quantization)
    state = load(str(path), device="cpu").model.state_dict()
    with loading.quiet():
        other = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32).state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)
    kind, arrays = gguf.GGMLQuantizationType[quantization], stored(model)
    for name, ours in (("blk.1.ffn_down", "layers.1.mlp.down_proj"), ("blk.0.attn_k", "layers.0.self_attn.k_proj")):
        values = gguf.dequantize(gguf.quantize(arrays[f"{name}.weight"], kind), kind)
        if "attn" in name:  # neighbours in the file are half a head apart in the model
            heads = [values[16 * head : 16 * head + 16] for head in range(2)]
            values = np.concatenate([np.concatenate([head[0::2], head[1::2]]) for head in heads])
        assert np.array_equal(state[f"model.{ours}.weight"].numpy(), values.astype(np.float32)), name


def test_a_file_is_known_by_its_quantisation_and_its_sha256_alone(tmp_path):
    path = write(tmp_path / "tiny.gguf", tiny_model("llama"), "Q4_1")
    backbone = load(str(path), device="cpu", dtype="bfloat16")
    assert backbone.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (backbone.quantization, backbone.model_sha256, backbone.tables) == ("Q4_1", None, {})
    assert backbone.dtype == torch.bfloat16
    assert getattr(backbone.model.config, "quantization_config", None) is None


def test_the_config_is_read_without_the_weights(tmp_path):
    model = tiny_model("qwen3")
    config = read_config(write(tmp_path / "tiny.gguf", model))
    for name in ("head_dim", "num_key_value_heads", "rms_norm_eps", "vocab_size", "rope_parameters", "eos_token_id"):
        assert getattr(config, name) == pytest.approx(getattr(model.config, name)), name


@pytest.mark.parametrize("begins", [True, False])
def test_the_tokenizer_makes_the_tokens_and_offsets_of_the_one_that_was_written(begins, tmp_path):
    path = write(tmp_path / "tiny.gguf", tiny_model("llama"), tokenizer__ggml__add_bos_token=begins)
    ours, written = load(str(path), device="cpu").tokenizer, tiny_tokenizer("llama" if begins else "gpt2")
    for text in (TEXT, "", " x", "the hypothesis does follow\n\n"):
        options = {"return_offsets_mapping": True}
        assert ours(text, **options).data == written(text, **options).data, text
    assert (ours.bos_token, ours.eos_token, ours.pad_token) == ("<s>", "</s>", "<pad>")


def test_a_chat_template_comes_along(tmp_path):
    path = write(tmp_path / "tiny.gguf", tiny_model("llama"), tokenizer__chat_template="{{ messages[0]['content'] }}!")
    tokenizer = load(str(path), device="cpu").tokenizer
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi!"


def test_rotary_positions_are_slowed_down_as_llama_3_does_it_and_in_no_other_way(tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    model = tiny_model("llama", rope_parameters=rope)
    backbone = load(str(write(tmp_path / "tiny.gguf", model)), device="cpu")
    assert backbone.model.config.rope_parameters == rope
    ids = backbone.tokenizer(TEXT * 9).input_ids
    torch.testing.assert_close(logits(backbone.model, ids), logits(model, ids), rtol=0, atol=1e-5)
    assert (logits(tiny_model("llama", rope_parameters=rope | {"factor": 2.0}), ids) - logits(model, ids)).max() > 1e-3
    other = tiny_model("llama", rope_parameters=rope | {"high_freq_factor": 3.0})
    with pytest.raises(ModelError, match="in a way that is not understood here") as error:
        load(str(write(tmp_path / "other.gguf", other)), device="cpu")
    assert error.value.hint
