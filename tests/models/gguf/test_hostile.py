"""GGUF files that are not what they should be: one line with the path and a hint, soon, and never a traceback."""

import random
import struct
import sys
import time

import pytest

from peftbench.errors import ModelError
from peftbench.models import source
from peftbench.models.gguf import header
from peftbench.models.load import load, read_config
from tests.gguf_files import tiny_model, write


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    return write(tmp_path_factory.mktemp("gguf") / "whole.gguf", model, "Q4_1").read_bytes()


def refused(message, path, **options):
    with pytest.raises(ModelError, match=message) as error:
        load(str(path), device="cpu", **options)
    assert error.value.hint
    assert error.value.message.isprintable()
    return error.value.hint


def put(path, data):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", "is damaged|is no GGUF"),
        (b"GGU", "does not begin with GGUF"),
        (b"PK\3\4" * 9, "does not begin with GGUF"),
        (b"GGUF" + struct.pack(">I", 3) + bytes(99), "is big-endian"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(99), "is GGUF version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1), "tensors and 1 metadata"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), "ends within its header"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 4, 2**61), "a list of"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 9, 1), "value of type 9"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"\xff", 0), "decode"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "does not name its architecture"),
    ],
)
def test_what_is_no_gguf_file_that_is_read_here_is_said_in_one_line(start, message, tmp_path):
    refused(message, put(tmp_path / "a.gguf", start))


def test_what_is_no_file_at_all(tmp_path):
    refused("there is no file", tmp_path / "none.gguf")
    (tmp_path / "folder.gguf").mkdir()
    assert "config.json" in refused("has no config.json", tmp_path / "folder.gguf")
    path = put(tmp_path / "folder.gguf" / "inner.gguf", b"GGUF")
    assert refused("has no config.json", tmp_path / "folder.gguf") == f"name the file: {path}"


@pytest.mark.parametrize(
    ("name", "entries", "message", "hint"),
    [
        ("a", {"general__architecture": "bert"}, "architecture 'bert'", "known: llama"),
        ("a-00001-of-00002", {}, "one part of a model", "llama-gguf-split --merge"),
        ("a", {"split__count": 2}, "one part of a model", "llama-gguf-split --merge"),
        ("a", {"llama__block_count": None}, "no block_count", "copy"),
        ("a", {"llama__block_count": "two"}, "block_count = 'two'", "copy"),
        ("a", {"llama__block_count": 2.5}, "num_hidden_layers = 2.5", "whole number"),
        ("a", {"llama__block_count": 2_000_000}, "num_hidden_layers = 2000000", "whole number"),
        ("a", {"llama__block_count": 3}, "missing: model.layers.2", "one model"),
        ("a", {"llama__block_count": 1}, "unexpected: blk.1", "one model"),
        ("a", {"llama__vocab_size": 7}, "mismatched: output.weight, token_embd.weight", "one model"),
        ("a", {"llama__rope__scaling__factor": 8.0}, "rope.scaling.factor = 8.0", "may change what"),
        ("a", {"llama__rope__dimension_count": 8}, "rope.dimension_count = 8", "may change what"),
        ("a", {"llama__attention__head_count": 0}, "num_attention_heads = 0", "whole number"),
        ("a", {"tokenizer__ggml__model": "bert"}, "tokenizer of the kind 'bert'", "known: gpt2"),
        ("a", {"tokenizer__ggml__model": None}, "tokenizer of the kind None", "known: gpt2"),
        ("a", {"tokenizer__ggml__model": "llama"}, "in the way 'gpt-2'", "known"),
        ("a", {"tokenizer__ggml__model": "llama", "tokenizer__ggml__pre": None}, "no tokenizer that can be", "copy"),
        ("a", {"tokenizer__ggml__pre": "new"}, "in the way 'new'", "known: gpt-2"),
        ("a", {"tokenizer__ggml__pre": None}, "in the way 'default'", "known: gpt-2"),
        ("a", {"tokenizer__ggml__tokens": None}, "no tokenizer that can be loaded", "copy"),
        ("a", {"tokenizer__ggml__tokens": ["a", "a"]}, "twice|320 tokens", "copy"),
        ("a", {"tokenizer__ggml__tokens": ["a", "b"], "tokenizer__ggml__merges": ["a b"]}, "no tokenizer that", "copy"),
        ("a", {"tokenizer__ggml__merges": ["a"]}, "no tokenizer that can be loaded", "copy"),
        ("a", {"tokenizer__ggml__bos_token_id": 10**6}, "bos_token_id is 1000000, and it has 320 tokens", "copy"),
        ("a", {"tokenizer__ggml__bos_token_id": None}, "texts begin or end with a bos_token, and it has none", "copy"),
        ("a", {"tokenizer__chat_template": 5}, "no tokenizer that can be loaded", "copy"),
        ("a", {"general__alignment": 0}, "an alignment of 0", "copy"),
    ],
)
def test_what_is_not_understood_or_does_not_fit_is_said_in_one_line(name, entries, message, hint, model, tmp_path):
    assert hint in refused(message, write(tmp_path / f"{name}.gguf", model, **entries))


def test_wherever_a_file_is_cut_it_is_refused_before_anything_is_made_of_it(whole, tmp_path):
    start = time.process_time()
    for place in range(50):
        path = put(tmp_path / "cut.gguf", whole[: len(whole) * place // 50])
        refused("is damaged: it ends within|its tensors end at byte|is no GGUF|empty file", path)
    assert time.process_time() - start < 5


def test_whatever_bytes_of_the_header_are_changed_it_is_loaded_or_refused_in_one_line(whole, tmp_path):
    path = put(tmp_path / "changed.gguf", whole)
    size = min(tensor.start for tensor in header.read(path).tensors.values())
    chance, errors, start = random.Random(0), [], time.process_time()
    names = whole.index(b"token_embd")  # the tokens before are most of the header
    for _ in range(100):
        data = bytearray(whole)
        place = chance.choice([chance.randrange(8, 700), chance.randrange(8, size), chance.randrange(names, size)])
        data[place] ^= 1 << chance.randrange(8)
        put(path, data)
        try:
            load(str(path), device="cpu")
        except ModelError as error:
            errors.append(error)
    assert len(errors) > 30
    assert all(error.hint and str(path) in error.message and error.message.isprintable() for error in errors)
    assert time.process_time() - start < 30


def test_tensors_that_share_bytes_do_not_take_more_memory_than_the_file_has(whole, tmp_path):
    path = put(tmp_path / "a.gguf", whole)
    tensors = header.read(path).tensors
    start = min(tensor.start for tensor in tensors.values())
    data = bytearray(whole)
    for name in ("blk.0.ffn_up.weight", "blk.1.ffn_up.weight"):  # each takes two thirds of the data, from its beginning
        place = whole.index(name.encode()) + len(name)
        num_rows = (len(whole) - start) * 2 // 3 // (tensors[name].num_bytes // tensors[name].shape[0])
        struct.pack_into("<IQQIQ", data, place, 2, tensors[name].shape[1], num_rows, tensors[name].type_id, 0)
    refused("its tensors end at byte", put(path, data))


@pytest.mark.parametrize("offset", [10_000_000, 2**63])
def test_a_tensor_beyond_the_end_is_refused(offset, whole, tmp_path):
    data, name = bytearray(whole), b"blk.0.ffn_up.weight"
    struct.pack_into("<Q", data, whole.index(name) + len(name) + 24, offset)  # behind axes, two sizes and the type
    refused("its tensors end at byte", put(tmp_path / "a.gguf", data))


def test_without_the_package_gguf_the_hint_is_what_installs_it(whole, tmp_path, monkeypatch):
    path = put(tmp_path / "a.gguf", whole)
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert refused("needs the package gguf", path) == "pip install 'peftbench[gguf]'"
    with pytest.raises(ModelError, match="needs the package gguf"):
        read_config(path)


def test_a_file_has_no_revision(whole, tmp_path):
    with pytest.raises(ModelError, match="is local and has no revision 'main'"):
        source.find(str(put(tmp_path / "a.gguf", whole)), "main")
