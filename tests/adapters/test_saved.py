import json

import pytest
import torch

from peftbench.adapters import saved
from peftbench.errors import MethodError
from peftbench.methods import full, ia3, lora
from peftbench.store.seal import sealed
from tests.tiny import tiny_backbone


@pytest.fixture
def folder(tmp_path):
    backbone = tiny_backbone("t5")
    config = lora.Config(rank=2)
    return saved.save(tmp_path / "a", backbone, "lora", config, lora.attach(backbone, config))


def test_the_card_says_how_the_adapter_was_made(folder):
    card = json.loads((folder / "adapter.json").read_text())
    assert card["method"] == "lora"
    assert card["config"] == {"rank": 2, "alpha": 4.0, "roles": "all", "layer_norms": False}
    assert card["fingerprint"] == tiny_backbone("t5").fingerprint
    assert card["parameters"]["encoder.block.0.layer.0.SelfAttention.q.lora_q.A"] == [2, 16]


def test_saving_again_replaces_the_adapter_and_leaves_nothing_beside_it(folder):
    backbone = tiny_backbone("t5")
    saved.save(folder, backbone, "ia3", ia3.Config(), ia3.attach(backbone, ia3.Config()))
    assert saved.read(folder).method == "ia3"
    assert [path.name for path in folder.parent.iterdir()] == ["a"]


def test_an_interrupted_save_leaves_the_old_adapter_and_nothing_beside_it(folder, monkeypatch):
    backbone = tiny_backbone("t5")
    names = ia3.attach(backbone, ia3.Config())

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(saved.weights, "fingerprint", interrupt)
    with pytest.raises(KeyboardInterrupt):
        saved.save(folder, backbone, "ia3", ia3.Config(), names)
    assert saved.read(folder).method == "lora"
    assert [path.name for path in folder.parent.iterdir()] == ["a"]


def test_another_model_is_refused(folder):
    with pytest.raises(MethodError, match="other weights") as error:
        saved.load(folder, tiny_backbone("t5-v1.0"))
    assert "--model" in error.value.hint


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-40], lambda data: b""])
def test_a_damaged_file_of_tensors_is_refused_before_anything_is_attached(folder, damage):
    path = folder / "adapter.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    backbone = tiny_backbone("t5")
    num_modules = len(list(backbone.model.modules()))
    with pytest.raises(MethodError, match=r"adapter\.safetensors' is damaged"):
        saved.load(folder, backbone)
    assert len(list(backbone.model.modules())) == num_modules


def edited(card, **changes):
    """Change a card and seal it again, as if it had been made so."""
    del card["digest"]
    return sealed(json.dumps(card | changes, indent=2))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda card: json.dumps(card)[:-5], "damaged"),
        (lambda card: "[]", "damaged"),
        (lambda card: json.dumps(card | {"method": "ia3"}, indent=2), "was edited"),
        (lambda card: json.dumps({name: card[name] for name in card if name != "digest"}), "has no digest"),
        (lambda card: edited(card, parameters=None), "damaged: 1 faulty fields"),
        (lambda card: edited(card, format_version=3), "format 3"),
        (lambda card: edited(card, method="lorra"), "unknown method 'lorra'"),
        (lambda card: edited(card, config={"rank": 0}), "rank"),
        (lambda card: edited(card, config={"rank": 3}), "not those of its method and settings"),
        (lambda card: edited(card, config={"rank": 2, "roles": ["q"]}), "not those of its method and settings"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_and_the_backbone_stays_bare(folder, edit, message):
    path = folder / "adapter.json"
    path.write_text(edit(json.loads(path.read_text())))
    backbone = tiny_backbone("t5")
    num_modules = len(list(backbone.model.modules()))
    with pytest.raises(MethodError, match=message):
        saved.load(folder, backbone)
    assert len(list(backbone.model.modules())) == num_modules


def test_a_folder_without_an_adapter_is_refused(tmp_path):
    with pytest.raises(MethodError, match="is no adapter"):
        saved.read(tmp_path)


def test_a_missing_file_of_tensors_is_refused(folder):
    (folder / "adapter.safetensors").unlink()
    with pytest.raises(MethodError, match="damaged"):
        saved.load(folder, tiny_backbone("t5"))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    backbone = tiny_backbone("t5")
    names = ia3.attach(backbone, ia3.Config())
    with pytest.raises(MethodError, match="cannot write"):
        saved.save(tmp_path / "file" / "a", backbone, "ia3", ia3.Config(), names)


def test_trained_base_weights_go_back_when_the_adapter_comes_off(tmp_path):
    backbone = tiny_backbone("t5")
    names = [name for name, _ in backbone.model.named_parameters()]
    backbone.train_only(names)
    with torch.no_grad():
        backbone.embeddings.weight.add_(1.0)
    trained = backbone.embeddings.weight.detach().clone()
    saved.save(tmp_path / "full", backbone, "full", full.Config(), names)
    other = tiny_backbone("t5")
    loaded = other.embeddings.weight.detach().clone()
    saved.load(tmp_path / "full", other)
    assert torch.equal(other.embeddings.weight, trained)
    other.detach_all()
    assert torch.equal(other.embeddings.weight, loaded)
