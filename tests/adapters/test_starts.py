import pytest
import torch

from peftbench.adapters import saved, starts
from peftbench.errors import MethodError
from peftbench.methods import lora
from tests.tiny import tiny_backbone


@pytest.fixture
def folder(tmp_path):
    backbone = tiny_backbone("t5")
    config = lora.Config(rank=2)
    return saved.save(tmp_path / "a", backbone, "lora", config, lora.attach(backbone, config))


def test_a_method_starts_from_a_saved_adapters_values(folder):
    source, target = tiny_backbone("t5"), tiny_backbone("t5")
    saved.load(folder, source)
    config = lora.Config(rank=2)
    names = lora.attach(target, config)
    starts.load(starts.read(folder), target, names)
    for name, value in source.parameters_named(names).items():
        assert torch.equal(target.model.get_parameter(name), value)


def test_a_starting_point_of_another_model_or_shape_is_refused(folder):
    backbone = tiny_backbone("t5")
    names = lora.attach(backbone, lora.Config(rank=3))
    start = starts.read(folder)
    with pytest.raises(MethodError, match=r"is \[2, 16\] there and \[3, 16\] here"):
        starts.load(start, backbone, names)
    with pytest.raises(MethodError, match="other weights"):
        starts.load(start, tiny_backbone("t5-v1.0"), names)


def flip(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [flip, lambda data: data[:-40], lambda data: b""])
def test_a_damaged_starting_point_is_refused_before_any_model_is_there(folder, damage):
    path = folder / "adapter.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MethodError, match="is damaged"):
        starts.read(folder)


def test_the_tensors_are_what_a_starting_point_is_known_by_not_the_place(folder, tmp_path):
    there = starts.read(folder)
    folder.rename(tmp_path / "b")
    assert starts.read(tmp_path / "b").sha256 == there.sha256
