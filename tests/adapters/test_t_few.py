import pytest
import torch

from peftbench.adapters import starts, t_few
from peftbench.errors import MethodError
from peftbench.methods import ia3
from tests.tiny import tiny_backbone


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny one in the authors' layout."""
    blocks = {
        "encoder": {"0.SelfAttention": "kv", "1.DenseReluDense": ["wi_1"]},
        "decoder": {"0.SelfAttention": "kv", "1.EncDecAttention": "kv", "2.DenseReluDense": ["wi_1"]},
    }
    table = {
        f"{stack}.block.{block}.layer.{layer}.{linear}.multi_lora_b": torch.rand(40 if linear == "wi_1" else 24, 1)
        for stack, layers in blocks.items()
        for block in range(2)
        for layer, linears in layers.items()
        for linear in linears
    }
    torch.save(table, tmp_path / "finish.pt")
    return tmp_path / "finish.pt"


def test_the_authors_vectors_scale_the_outputs_that_they_are_named_after(checkpoint):
    ours, plain = tiny_backbone("t5"), tiny_backbone("t5").model
    starts.load(starts.read(checkpoint), ours, ia3.attach(ours, ia3.Config()))
    for key, vector in torch.load(checkpoint, weights_only=True).items():
        plain.get_submodule(key.removesuffix(".multi_lora_b")).weight.data.mul_(vector)
    inputs = {"input_ids": torch.arange(3, 33).view(2, 15), "decoder_input_ids": torch.arange(40, 52).view(2, 6)}
    with torch.no_grad():
        torch.testing.assert_close(ours.model(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no pickle", b"text,label\nthe soup was warm,good\n", None])
def test_a_file_of_another_layout_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    if content is None:
        torch.save({"weight": torch.ones(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(MethodError, match=r"other\.pt"):
        t_few.read(path)


def test_a_checkpoint_of_a_larger_model_is_refused(checkpoint):
    backbone = tiny_backbone("gpt2")
    with pytest.raises(MethodError, match="no starting point for ia3"):
        starts.load(starts.read(checkpoint), backbone, ia3.attach(backbone, ia3.Config()))


def test_it_is_of_the_method_ia3_at_the_papers_places(checkpoint):
    start = starts.read(checkpoint)
    assert start.settings("ia3", {}) == {"places": "paper"}
    with pytest.raises(MethodError, match="has places = paper"):
        start.settings("ia3", {"places": "all"})
