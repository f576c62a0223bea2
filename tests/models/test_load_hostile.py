"""Model folders of strangers: what is hashed is what is loaded, and what is wrong is one line with a hint, soon."""

import contextlib
import hashlib
import json
import os
import shutil
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from peftbench.errors import ModelError
from peftbench.models import weights
from peftbench.models.load import load, read_config
from tests.tiny import tiny_folder


@pytest.fixture
def folder(tmp_path):
    return tiny_folder("llama", tmp_path / "model")


def refused(message, folder, **options):
    with pytest.raises(ModelError, match=message) as error:
        load(str(folder), device="cpu", **options)
    assert error.value.hint
    assert error.value.message.isprintable()
    return error.value.hint


class RefusedError(Exception):
    """A folder was refused, as it should be."""


@contextlib.contextmanager
def refusing(folder):
    """Check what is said of a folder that is refused."""
    try:
        yield
    except ModelError as error:
        if not error.hint or str(folder) not in error.message or not error.message.isprintable():
            raise
        raise RefusedError from error


def change(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def add_shards(folder, single, save):
    """Put an index with a shard of zeros beside the single file."""
    zeros = {name: torch.zeros_like(tensor) for name, tensor in load_file(folder / "model.safetensors").items()}
    suffix = single.rpartition(".")[2]
    save(zeros, folder / f"shard.{suffix}")
    index = {"weight_map": dict.fromkeys(zeros, f"shard.{suffix}")}
    (folder / f"{single}.index.json").write_text(json.dumps(index))


def save_safe(tensors, path):
    save_file(tensors, path, metadata={"format": "pt"})


def test_f2_the_fingerprint_is_of_the_file_that_transformers_loads(folder):
    expected = load_file(folder / "model.safetensors")
    add_shards(folder, "model.safetensors", save_safe)
    theirs = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    backbone = load(str(folder), device="cpu")
    ours = backbone.model.state_dict()
    for name, tensor in expected.items():
        assert torch.equal(ours[name], tensor), name
        assert torch.equal(theirs[name], tensor), name
    assert backbone.fingerprint == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_f2_of_pickles_too(folder):
    expected = load_file(folder / "model.safetensors")
    torch.save(expected, folder / "pytorch_model.bin")
    add_shards(folder, "pytorch_model.bin", torch.save)
    (folder / "model.safetensors").unlink()
    backbone = load(str(folder), device="cpu", allow_pickle=True)
    assert torch.equal(backbone.embeddings.weight, expected["model.embed_tokens.weight"])
    assert backbone.fingerprint == hashlib.sha256((folder / "pytorch_model.bin").read_bytes()).hexdigest()


def test_f2_weights_that_transformers_would_take_from_elsewhere_are_refused(folder):
    config = (folder / "config.json").read_text()
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    change(folder / "config.json", transformers_weights="other.safetensors")
    refused("transformers_weights", folder)
    (folder / "config.json").write_text(config)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x"}')
    assert "--start-from" in refused("adapter_config.json", folder)


def test_f2_an_index_of_safetensors_does_not_lead_to_a_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").rename(folder / "shard.bin")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "shard.bin"}}')
    assert ".safetensors" in refused("is damaged", folder)


def test_f4_the_hash_of_config_and_tokenizer_is_what_sha256sum_makes_of_them(folder):
    names = ["config.json", "tokenizer.json", "tokenizer_config.json"]
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert load(str(folder), device="cpu").model_sha256 == weights.model_sha256(folder) == expected
    for name in ("README.md", "generation_config.json", "peftbench.toml"):  # these decide no score
        (folder / name).write_text("")
    assert weights.model_sha256(folder) == expected
    (folder / "special_tokens_map.json").write_text("{}")
    assert weights.model_sha256(folder) != expected


CONFIGS = [
    {"hidden_size": "16"}, {"hidden_size": None}, {"hidden_size": [16]}, {"hidden_size": 17}, {"vocab_size": 3.5},
    {"num_attention_heads": 0}, {"num_key_value_heads": 0}, {"num_attention_heads": {}}, {"head_dim": -6},
    {"rope_parameters": {"rope_type": "x"}}, {"rope_parameters": 3}, {"rope_parameters": {"rope_type": "yarn"}},
    {"hidden_act": "x"}, {"hidden_act": None}, {"dtype": "evil"}, {"torch_dtype": "evil"}, {"dtype": 3},
    {"model_type": None}, {"model_type": ["llama"]}, {"model_type": {}}, {"rms_norm_eps": "x"},
    {"layer_types": ["x"]}, {"quantization_config": {"quant_method": "x"}}, {"tie_word_embeddings": "x"},
    {"intermediate_size": 10**30}, {"max_position_embeddings": "x"},
]  # fmt: skip


@pytest.mark.parametrize("fields", CONFIGS, ids=[json.dumps(fields)[:50] for fields in CONFIGS])
def test_f9_a_config_of_other_values_is_used_or_refused_in_one_line(fields, folder):
    change(folder / "config.json", **fields)
    with contextlib.suppress(RefusedError), refusing(folder):
        load(str(folder), device="cpu")


@pytest.mark.parametrize(
    "fields",
    [{"num_hidden_layers": 10**6}, {"num_labels": 10**9}, {"hidden_size": 900_000}, {"vocab_size": 90_000_000}],
)
def test_f13_a_config_of_a_giant_is_refused_at_once(fields, folder):
    change(folder / "config.json", **fields)
    started = time.monotonic()
    refused("num_hidden_layers|num_labels|do not fit its config.json", folder)
    assert time.monotonic() - started < 2


DEEP = "[" * 100_000
FILES = [
    *[("config.json", text) for text in ("[]", "null", "{}", DEEP, "\xe9", '{"model_type": "llama"', "")],
    *[("tokenizer.json", text) for text in ("[]", "null", "{}", DEEP, "x", "", '{"model": {}}', '{"version": 1}')],
    *[("tokenizer_config.json", text) for text in ("[]", "null", DEEP, '{"model_max_length": "x"}', "\xe9")],
    *[("special_tokens_map.json", text) for text in ("[]", "3", DEEP)],
    *[("added_tokens.json", text) for text in ("[]", "null", '{"a": "\\ud800"}', DEEP)],
    *[
        ("SHA256SUMS", text)
        for text in ("x\n", "0" * 64, f"{'0' * 64}  {'x' * 5000}", "\xe9", f"{'0' * 64}  /dev/zero")
    ],
    *[
        ("peftbench.toml", text)
        for text in ("[tune", "tune = 3", "[[tune]]", "[tune]\nlora = 3", "\xe9", f"a = {DEEP}")
    ],
    ("peftbench.toml", f"a = {'9' * 5000}"),
]


@pytest.mark.parametrize(("name", "text"), FILES, ids=[f"{name} {text[:16]!a}" for name, text in FILES])
def test_f9_a_file_of_another_kind_is_refused_in_one_line(name, text, folder):
    (folder / name).write_bytes(text.encode("latin-1"))
    refused("model", folder)


NAMES = [None, 3, {}, [], ["x"], {"x": None}, {"x": 3}, {"x": ["a"]}, {"x": "a" * 5000 + ".safetensors"}]


@pytest.mark.parametrize("weight_map", NAMES, ids=[json.dumps(weight_map)[:20] for weight_map in NAMES])
def test_f9_an_index_that_lists_no_files_is_refused(weight_map, folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused("is damaged|cannot be read", folder)


def test_f9_a_tokenizer_of_tokens_that_the_model_does_not_have_is_refused(folder):
    path = folder / "tokenizer.json"
    table = json.loads(path.read_text())
    first = next(iter(table["model"]["vocab"]))
    table["model"]["vocab"][first] = 99_999
    path.write_text(json.dumps(table))
    refused("has a token 99999, and the model has 320 tokens", folder)


def test_f9_a_tokenizer_that_makes_no_tokens_is_refused(tmp_path):
    """Without tokenizer.json transformers builds an empty one of the class that it knows for the family."""
    folder = tiny_folder("qwen2", tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    refused("makes no tokens of a text|has no tokenizer", folder)


@pytest.mark.parametrize("token", [None, "0", -1, 320, 1.0, [0], {"a": 1}])
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_f9_a_decoder_starts_from_a_token(family, token, tmp_path):
    folder = tiny_folder(family, tmp_path / "model")
    change(folder / "config.json", decoder_start_token_id=token)
    refused("starts the decoder from|decoder_start_token_id", folder)


def test_a_pipe_is_not_waited_for(folder):
    os.mkfifo(folder / "generation_config.json")
    refused("no regular file", folder)


def test_f10_a_name_that_no_file_has_is_refused():
    refused("256 characters", "a" * 256)
    refused("no UTF-8", "\udcff")


def test_an_unexpected_fault_of_our_own_keeps_its_traceback(folder, monkeypatch):
    monkeypatch.setattr(weights, "files", lambda *_: [][0])
    with pytest.raises(IndexError):
        load(str(folder), device="cpu")


def test_a_config_can_be_read_without_its_weights(folder):
    (folder / "model.safetensors").unlink()
    assert read_config(folder).num_hidden_layers == 2
