import hashlib
import json
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from peftbench import registry
from peftbench.errors import ModelError
from peftbench.models.load import load
from tests.tiny import ENCODERS, FAMILIES, tiny_folder, tiny_tokenizer


@pytest.fixture
def folder(tmp_path):
    return tiny_folder("llama", tmp_path / "model")


def refused(message, *args, **options):
    with pytest.raises(ModelError, match=message) as error:
        load(*args, device="cpu", **options)
    return error.value.hint


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_every_tensor_of_the_file_is_what_the_model_uses(family, tmp_path):
    path = tiny_folder(family, tmp_path / "model")
    state = load(str(path), device="cpu").model.state_dict()
    for name, stored in load_file(path / "model.safetensors").items():
        assert torch.equal(state[name], stored), name


@pytest.mark.parametrize("family", ["t5-v1.0", "qwen2"])
def test_a_head_of_its_own_is_used_even_where_the_config_ties_it(family, tmp_path, remarks):
    path = tiny_folder(family, tmp_path / "model")
    tensors = load_file(path / "model.safetensors")
    tensors["lm_head.weight"] = torch.randn(len(tiny_tokenizer(family)), 16)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    backbone = load(str(path), device="cpu")
    assert torch.equal(backbone.model.get_output_embeddings().weight, tensors["lm_head.weight"])
    assert not torch.equal(backbone.embeddings.weight, tensors["lm_head.weight"])
    assert remarks == []


def test_the_fingerprint_is_that_of_the_weights(folder):
    first = load(str(folder), device="cpu")
    assert first.fingerprint == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(str(folder), device="cpu").fingerprint != first.fingerprint


def test_a_backbone_comes_frozen_quiet_and_in_eval_mode(folder, capfd):
    backbone = load(str(folder), device="cpu", dtype="bfloat16")
    assert not backbone.model.training
    assert not any(weight.requires_grad for weight in backbone.model.parameters())
    assert backbone.dtype == torch.bfloat16
    assert capfd.readouterr() == ("", "")


def test_t5_in_float16_is_refused_and_others_are_not(folder):
    with pytest.raises(ModelError, match="cannot be used with --dtype float16: its activations overflow") as caught:
        load("mini-t0", device="cpu", dtype="float16")
    assert caught.value.hint.startswith("--dtype bfloat16")
    assert load("mini-t0", device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    assert load(str(folder), device="cpu", dtype="float16").dtype == torch.float16


def test_embedded_models_go_by_name(folder, monkeypatch):
    monkeypatch.setattr(registry, "MODEL_FOLDER", folder.parent)
    assert load("model", device="cpu").name == "model"
    hint = refused("unknown model 'modle'", "modle")
    assert hint.startswith(
        "did you mean 'model'? known: model, smollm2-135m; or a Hugging Face folder, a GGUF file, or a hub id"
    )


def test_a_shard_that_is_missing_is_named(folder):
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused("lacks weights file b.safetensors", str(folder))


def test_shards_are_read_like_one_file(folder):
    tensors = load_file(folder / "model.safetensors")
    whole = load(str(folder), device="cpu").model.state_dict()
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, members in shards.items():
        save_file({name: tensors[name] for name in members}, folder / shard, metadata={"format": "pt"})
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    state = load(str(folder), device="cpu").model.state_dict()
    assert all(torch.equal(state[name], whole[name]) for name in whole)


def test_pickles_are_read_only_on_request(folder):
    expected = load(str(folder), device="cpu").model.state_dict()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "--allow-pickle" in refused("only as pickles", str(folder))
    state = load(str(folder), device="cpu", allow_pickle=True).model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


class Boom:
    def __reduce__(self):
        return (print, ("boom",))


def test_a_pickle_that_would_run_code_is_refused(folder, capfd):
    torch.save({"x": Boom()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refused("holds more than tensors", str(folder), allow_pickle=True)
    assert "boom" not in capfd.readouterr().out


def test_a_folder_without_weights_or_config_says_what_is_missing(folder):
    (folder / "model.safetensors").unlink()
    assert "model.safetensors" in refused("has no weights", str(folder))
    (folder / "config.json").unlink()
    refused("has no config.json", str(folder))


@pytest.mark.parametrize("keep", [4, 1000])
def test_weights_that_are_cut_short_are_refused(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert refused("is damaged", str(folder)) == "copy or download it again"


@pytest.mark.parametrize(("change", "kind"), [("pop", "missing: model.norm.weight"), ("add", "unexpected: extra")])
def test_weights_that_do_not_fit_the_config_are_refused(folder, change, kind):
    tensors = load_file(folder / "model.safetensors")
    tensors = tensors | {"extra": torch.ones(1)} if change == "add" else tensors
    if change == "pop":
        del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    refused(rf"do not fit its config.json \({kind}\)", str(folder))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_folders_own_checksums_tell_a_changed_file(folder, name):
    names = ["config.json", "model.safetensors"]
    lines = [f"{hashlib.sha256((folder / each).read_bytes()).hexdigest()}  {each}\n" for each in names]
    (folder / "SHA256SUMS").write_text("".join(lines))
    load(str(folder), device="cpu")
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1 if name == "model.safetensors" else 0
    (folder / name).write_bytes(data + (b"" if name == "model.safetensors" else b"\n"))
    assert "SHA256SUMS" in refused(f"{name}' is damaged or was changed", str(folder))


def test_weights_of_another_shape_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 41}))
    refused("mismatched: model.layers.0.mlp", str(folder))


def test_an_unknown_family_names_the_known_ones(folder):
    (folder / "config.json").write_text('{"model_type": "electra"}')
    hint = refused("unknown model family 'electra'", str(folder))
    assert hint.startswith("models that write text or fill masks, of these families: t5, gpt2, ")


def test_a_damaged_config_is_refused(folder):
    (folder / "config.json").write_text("{")
    refused("is damaged", str(folder))


def test_a_folder_without_a_tokenizer_is_refused(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    refused("has no tokenizer", str(folder))


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(folder, device):
    with pytest.raises(ModelError, match=f"device '{device}' cannot be used"):
        load(str(folder), device=device)


def test_a_revision_makes_no_sense_for_a_folder(folder):
    refused("has no revision 'main'", str(folder), revision="main")


def test_a_hub_id_without_network_says_so():
    assert "HF_HUB_OFFLINE" in refused("is no folder here, and the hub could not be reached", "someone/some-model")


def test_a_hub_id_is_downloaded_without_pickles_and_without_subfolders(folder, monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(name, **options):
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    backbone = load("someone/some-model", revision="v2", device="cpu")
    assert (backbone.name, backbone.revision) == ("someone/some-model", "v2")
    assert (asked["name"], asked["revision"]) == ("someone/some-model", "v2")
    assert "*.bin" not in asked["allow_patterns"]
    assert asked["ignore_patterns"] == ["*/*"]


def test_a_hub_id_that_does_not_exist_is_told_from_a_network_that_fails(monkeypatch):
    def snapshot_download(name, **options):
        response = SimpleNamespace(headers={}, request=None, status_code=404)
        raise RepositoryNotFoundError("404", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert "spelling" in refused("neither a folder here nor known to the hub", "someone/some-model")


def test_settings_come_with_the_model_and_a_methods_own_win(folder):
    (folder / "peftbench.toml").write_text("[tune]\nlr = 0.1\nnum_steps = 300\n[tune.lora]\nlr = 0.01\n")
    backbone = load(str(folder), device="cpu")
    assert backbone.settings("ia3") == {"lr": 0.1, "num_steps": 300}
    assert backbone.settings("lora") == {"lr": 0.01, "num_steps": 300}
    (folder / "peftbench.toml").write_text("[tune")
    refused("not valid TOML", str(folder))


def test_a_stored_truncation_does_not_cut_prompts(folder):
    path = folder / "tokenizer.json"
    stored = json.loads(path.read_text())
    stored["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    path.write_text(json.dumps(stored))
    core = load(str(folder), device="cpu").tokenizer.backend_tokenizer
    assert len(core.encode("yes no yes no yes no").ids) > 3


def test_a_model_folder_can_be_moved(folder, tmp_path):
    before = load(str(folder), device="cpu").fingerprint
    shutil.move(folder, tmp_path / "elsewhere")
    assert load(str(tmp_path / "elsewhere"), device="cpu").fingerprint == before
