import pytest
import torch

from peftbench.errors import MethodError
from peftbench.methods import bottleneck
from tests.methods.published import T0_3B, T0_11B
from tests.tiny import tiny_backbone

T_FEW = bottleneck.Config(placement="pfeiffer", reduction_factor=32, layer_norms=True)


@pytest.mark.parametrize(("sizes", "published"), [(T0_3B, 12_934_144), (T0_11B, 51_034_112)])
def test_behind_feed_forward_blocks_only_the_count_is_t_fews(sizes, published):
    assert bottleneck.added(sizes, T_FEW).num_parameters == published


def test_behind_both_blocks_there_are_twice_as_many():
    norms = 122 * 2048
    assert bottleneck.added(T0_3B, bottleneck.Config()).num_parameters == 2 * (12_934_144 - norms)


def test_the_adapter_adds_two_layers_to_what_the_block_gave():
    adapter = bottleneck.Adapter(2, 1, bottleneck.Config(activation="relu"))
    adapter.W_down.data, adapter.b_down.data = torch.tensor([[1.0, 2.0]]), torch.tensor([-1.0])
    adapter.W_up.data, adapter.b_up.data = torch.tensor([[3.0], [0.0]]), torch.tensor([0.0, 5.0])
    y = torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    assert adapter(y, y).tolist() == [[1 + 3 * 2, 1 + 5], [-1, 5]]  # 1 + 2 - 1 = 2; relu(-2) = 0


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({}, ["encoder.0.0", "encoder.0.1", "encoder.1.0", "encoder.1.1"]),
        ({"placement": "pfeiffer"}, ["encoder.0.1", "encoder.1.1"]),
        ({"drop_layers": 1}, ["encoder.1.0", "encoder.1.1"]),
    ],
)
def test_adapters_stand_where_the_placement_says(settings, places):
    backbone = tiny_backbone("t5")
    names = bottleneck.attach(backbone, bottleneck.Config(**settings))
    parts = [name.split(".") for name in names if name.endswith("W_up")]
    assert sorted(f"encoder.{part[2]}.{part[4]}" for part in parts if part[0] == "encoder") == places
    assert not any("EncDecAttention" in name for name in names)


def test_dropping_all_layers_is_refused():
    with pytest.raises(MethodError, match="leaves no layer") as error:
        bottleneck.attach(tiny_backbone("llama"), bottleneck.Config(drop_layers=2))
    assert error.value.hint == "at most 1"
