"""The file that would be written, counted on a model without weights, against the file that is written."""

import pytest
import torch

from peftbench import registry
from peftbench.adapters import saved
from peftbench.costs.adapter_file import without_weights, written
from peftbench.costs.describe import describe
from peftbench.methods.stages import Stages

UNDECIDED = ("adalora", "diff_pruning")  # training decides how many values these keep
SMALL = {"p_tuning": {"hidden_size": 8}}


@pytest.fixture(scope="module", params=["t5", "gpt2"])
def empty(request):
    """The family's name, and a model of it without weights."""
    from tests.tiny import tiny_backbone

    return request.param, without_weights(describe(tiny_backbone(request.param).name), "float32")


@pytest.mark.parametrize("name", [name for name in registry.METHODS if name not in UNDECIDED])
def test_it_has_the_length_of_the_file_that_is_written(empty, backbone_of, name, tmp_path):
    family, bare = empty
    real, method = backbone_of(family), registry.method(name)
    config = method.Config(**SMALL.get(name, {}))
    names = Stages(method, real, config, method.attach(real, config)).finish()
    file = saved.save(tmp_path / "a", real, name, config, names) / saved.TENSORS
    found = written(bare, name, config)
    assert found.file_bytes == file.stat().st_size
    assert found.tensor_bytes == sum(tensor.nbytes for tensor in real.tensors_named(names).values())


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_training_decides_is_not_told_before(empty, name):
    assert written(empty[1], name, registry.method(name).Config()) is None


def test_freed_weights_are_saved_as_the_model_has_them():
    full = registry.method("full").Config()
    whole, half = (
        written(without_weights(describe("t5-v1.1-small"), dtype), "full", full) for dtype in ("float32", "bfloat16")
    )
    assert whole.tensor_bytes == 2 * half.tensor_bytes == 4 * 76_961_152


def test_t_few_s_own_file_of_t0_3b_has_the_same_tensors_and_longer_names():
    """The authors' pickle has 62,721 bytes around 2,162,688 of vectors."""
    found = written(without_weights(describe("t0-3b"), "float32"), "ia3", registry.method("ia3").Config())
    assert found.tensor_bytes == 2_162_688
    assert 0 < found.file_bytes - found.tensor_bytes < 62_721


def test_a_model_without_weights_takes_no_memory():
    model = without_weights(describe("gpt3-2.7b"), "float32")
    assert {parameter.device for parameter in model.model.parameters()} == {torch.device("meta")}
