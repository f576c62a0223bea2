"""Tiny GGUF files: a random model and a trained tokenizer, laid out as llama.cpp's converter does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config, SmolLM3Config

from tests.tiny import tiny_tokenizer

gguf = pytest.importorskip("gguf", reason="GGUF files need the package gguf")

SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "initializer_range": 0.2, "bos_token_id": 2,
    "eos_token_id": 1, "pad_token_id": 0, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0},
}  # fmt: skip
CONFIGS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config, "smollm3": SmolLM3Config}
NAMES = {
    "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v",
    "o_proj": "attn_output", "q_norm": "attn_q_norm", "k_norm": "attn_k_norm", "gate_proj": "ffn_gate",
    "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip


def tiny_model(family: str, **more: Any) -> nn.Module:
    """Build a random model whose norms and biases differ from ones and zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vocab_size = len(tiny_tokenizer("llama"))
        config = CONFIGS[family](**{**SHAPE, "vocab_size": vocab_size, "tie_word_embeddings": False, **more})
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter) if parameter.dim() == 1 else 0)
    return model.eval()


def write(path: Path, model: nn.Module, quantization: str = "F32", **metadata: Any) -> Path:
    """Write a model with the tokenizer of tiny Llamas; `metadata` replaces entries (dots as __), None removes them."""
    architecture = model.config.model_type
    entries = _entries(model.config) | _tokenizer_entries()
    entries |= {key.replace("__", "."): value for key, value in metadata.items()}
    writer = gguf.GGUFWriter(path, entries.pop("general.architecture", architecture))
    for key, value in entries.items():
        if value is not None:
            _add(writer, key, value)
    kind = gguf.GGMLQuantizationType[quantization]
    for name, array in stored(model).items():
        raw = gguf.GGMLQuantizationType.F32 if array.ndim == 1 else kind
        writer.add_tensor(name, gguf.quantize(array, raw), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def stored(model: nn.Module) -> dict[str, np.ndarray]:
    """List the model's tensors under the file's names; rows of Llama's q and k by pairs of rotary features."""
    arrays = {}
    for name, tensor in model.named_parameters():
        parts = name.removeprefix("model.").split(".")
        place = f"blk.{parts[1]}." if parts[0] == "layers" else ""
        array = tensor.detach().numpy()
        if model.config.model_type in ("llama", "smollm3") and parts[-2] in ("q_proj", "k_proj"):
            heads = array.shape[0] // model.config.head_dim
            array = array.reshape(heads, 2, model.config.head_dim // 2, -1).swapaxes(1, 2).reshape(array.shape)
        arrays[f"{place}{NAMES[parts[-2]]}.{parts[-1]}"] = np.ascontiguousarray(array)
    if model.config.rope_parameters["rope_type"] == "llama3":
        exponents = np.arange(0, model.config.head_dim, 2) / model.config.head_dim
        plain = model.config.rope_parameters["rope_theta"] ** -exponents
        arrays["rope_freqs.weight"] = (plain / model.model.rotary_emb.inv_freq.numpy()).astype(np.float32)
    return arrays


def _entries(config: Any) -> dict[str, Any]:
    sizes = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.freq_base": config.rope_parameters["rope_theta"],
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
    }
    return {f"{config.model_type}.{key}": value for key, value in sizes.items()}


def _tokenizer_entries() -> dict[str, Any]:
    tokenizer = tiny_tokenizer("llama")
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    entries = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [3 if token in tokenizer.all_special_tokens else 1 for token in tokens],
        "merges": [" ".join(merge) for merge in merges],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "padding_token_id": 0,
        "add_bos_token": True,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in entries.items()}


def _add(writer: Any, key: str, value: Any) -> None:
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    kinds[list] = writer.add_array
    kinds[type(value)](key, value)
