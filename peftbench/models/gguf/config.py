"""A GGUF file's metadata as a config of transformers: field by field, and what is not understood is refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from peftbench.errors import ModelError
from peftbench.models import foreign
from peftbench.models.gguf.header import Header, read_tensor

# Key behind the architecture's name -> field of the config.
DECODER = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
OPTIONAL = ("attention.head_count_kv", "rope.freq_base", "vocab_size")
HEADS = ("attention.key_length", "rope.dimension_count", "attention.value_length")
"""Keys that all say the size of a head: rotary positions turn whole heads, values are as long as keys."""
TOKENS = {
    "tokenizer.ggml.bos_token_id": "bos_token_id",
    "tokenizer.ggml.eos_token_id": "eos_token_id",
    "tokenizer.ggml.padding_token_id": "pad_token_id",
}
EMBEDDINGS, HEAD, ROPE = "token_embd.weight", "output.weight", "rope_freqs.weight"
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""How Llama 3.1 and later ones slow down rotary positions; by how much, the file says feature by feature."""


@dataclass(frozen=True)
class Architecture:
    """How a GGUF architecture is a model of transformers.

    Args:
        model_type: The family's.
        fields: Key behind the architecture's name -> field of the config.
        fixed: Further fields that all models of the architecture share.
        paired: Whether the rows of q and k lie in pairs, as llama.cpp's rotary positions take them.
    """

    model_type: str
    fields: Mapping[str, str] = field(default_factory=lambda: DECODER)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    paired: bool = False


ARCHITECTURES = {
    "llama": Architecture("llama", paired=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3"),
    "smollm3": Architecture("smollm3", paired=True),
}


def architecture(header: Header) -> Architecture:
    """Find out how a file's architecture is a model of transformers.

    Raises:
        ModelError: It is none of `ARCHITECTURES`.
    """
    name = header.architecture
    if name not in ARCHITECTURES:
        raise ModelError(
            f"'{header.path}' holds a model of the architecture '{foreign.line(name)}', which is not read from GGUF",
            hint=f"known: {', '.join(ARCHITECTURES)}; other families work as a Hugging Face folder",
        )
    return ARCHITECTURES[name]


def table(header: Header) -> dict[str, Any]:
    """Build the fields of a config.

    Raises:
        ModelError: An unknown architecture; a size is missing or out of bounds; a key that is not understood, and so
            might change what the model computes.
    """
    kind, prefix = architecture(header), f"{header.architecture}."
    entries = {key.removeprefix(prefix): value for key, value in header.metadata.items() if key.startswith(prefix)}
    _check_numbers(header, kind, entries)
    config = {"rope_theta": 10_000.0} | {name: entries[key] for key, name in kind.fields.items() if key in entries}
    config |= {name: header.metadata[key] for key, name in TOKENS.items() if key in header.metadata}
    config.setdefault("num_key_value_heads", config["num_attention_heads"])
    config.setdefault("vocab_size", header.tensors[EMBEDDINGS].shape[0])
    config |= {"tie_word_embeddings": HEAD not in header.tensors, "model_type": kind.model_type, **kind.fixed}
    foreign.check_limits(header.path, config)
    whole = config["hidden_size"] // config["num_attention_heads"]
    size = next((entries[key] for key in HEADS if key in entries), whole)
    _check_keys(header, kind, {key: value for key, value in entries.items() if key not in HEADS or value != size})
    config["head_dim"] = size
    foreign.check_limits(header.path, config)
    theta = float(config.pop("rope_theta"))
    with foreign.reading(header.path):
        return config | {"rope_parameters": _rope(header, theta, size)}


def _rope(header: Header, theta: float, d_kv: int) -> dict[str, Any]:
    """Build the rotary positions, slowed down where the file has divisors of their frequencies.

    Raises:
        ModelError: The divisors are not those of Llama 3.
    """
    if ROPE not in header.tensors:
        return {"rope_type": "default", "rope_theta": theta}
    stored = read_tensor(header, ROPE).ravel().tolist()
    factor = max(stored)
    expected = _llama3_divisors(theta, d_kv, factor)
    if len(stored) != len(expected) or not all(map(partial(math.isclose, rel_tol=1e-4), stored, expected)):
        raise ModelError(
            f"'{header.path}' slows down rotary positions in a way that is not understood here ({ROPE})",
            hint="Llama 3's is; a Hugging Face folder of the model works as well",
        )
    return {"rope_type": "llama3", "rope_theta": theta, "factor": factor, **LLAMA3}


def _llama3_divisors(theta: float, d_kv: int, factor: float) -> list[float]:
    """Compute by what Llama 3 divides each frequency: short waves by 1, long ones by `factor`, between them smoothly.

    With the share s = (original / wave - low) / (high - low), it is 1 / ((1 - s) / factor + s), s within 0 and 1.
    """
    low, high, original = LLAMA3.values()
    waves = [2 * math.pi * theta ** (2 * feature / d_kv) for feature in range(d_kv // 2)]
    shares = [min(max((original / wave - low) / (high - low), 0.0), 1.0) for wave in waves]
    return [1 / ((1 - share) / factor + share) for share in shares]


def _check_numbers(header: Header, kind: Architecture, entries: Mapping[str, Any]) -> None:
    missing = [key for key in kind.fields if key not in entries and key not in OPTIONAL]
    wrong = [key for key in (*kind.fields, *HEADS) if key in entries and type(entries[key]) not in (int, float)]
    if missing or wrong or EMBEDDINGS not in header.tensors:
        what = f"{wrong[0]} = {foreign.line(repr(entries[wrong[0]]))}" if wrong else f"no {(*missing, EMBEDDINGS)[0]}"
        raise ModelError(f"'{header.path}' is damaged: its header has {what}", hint=foreign.COPY)


def _check_keys(header: Header, kind: Architecture, entries: Mapping[str, Any]) -> None:
    strange = [key for key in entries if key not in kind.fields]
    if strange:
        value = foreign.line(repr(entries[strange[0]]))
        raise ModelError(
            f"'{header.path}' has {foreign.line(strange[0])} = {value}, which is not understood here",
            hint="it may change what the model computes; a Hugging Face folder of the model works as well",
        )
