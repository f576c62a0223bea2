import pytest
import torch

from peftbench.errors import MethodError
from peftbench.methods import prefix_tuning
from peftbench.models.backbone import Sizes
from tests.tiny import tiny_backbone

T0_3B = Sizes(True, 24, 24, 2048, 64, 5120, 32, 32, True, 32128)


def test_two_virtual_tokens_on_t0_3b_are_the_papers_576k():
    assert prefix_tuning.added(T0_3B, prefix_tuning.Config(num_virtual_tokens=2)).num_parameters == 576 * 1024


def test_an_encoder_decoder_gets_a_prefix_in_all_three_kinds_of_attention():
    backbone = tiny_backbone("t5")
    names = prefix_tuning.attach(backbone, prefix_tuning.Config())
    places = {(name.split(".")[0], name.split(".")[5]) for name in names}
    assert places == {("encoder", "SelfAttention"), ("decoder", "SelfAttention"), ("decoder", "EncDecAttention")}


def test_keys_and_values_of_real_tokens_as_prefix_are_those_tokens_in_the_context():
    """GPT-2 has its positions in the embeddings, so a prefix filled from a cache is the cache."""
    backbone, plain = tiny_backbone("gpt2"), tiny_backbone("gpt2").model
    ids = torch.tensor([[5, 9, 14, 30, 31, 32]])
    with torch.no_grad():
        cache = plain(ids[:, :2], use_cache=True).past_key_values
        prefix_tuning.attach(backbone, prefix_tuning.Config(num_virtual_tokens=2))
        for block, layer in zip(backbone.attentions(), cache.layers, strict=True):
            prefix = backbone.model.get_submodule(block.module).prefix
            prefix.k.copy_(layer.keys[0])
            prefix.v.copy_(layer.values[0])
        ours = backbone.model(ids[:, 2:], position_ids=torch.arange(2, 6)[None]).logits
        torch.testing.assert_close(ours, plain(ids).logits[:, 2:], atol=1e-5, rtol=1e-5)


def test_a_backbone_without_attention_blocks_is_an_error(monkeypatch):
    backbone = tiny_backbone("llama")
    monkeypatch.setattr(backbone, "attentions", list)
    with pytest.raises(MethodError, match="attention blocks"):
        prefix_tuning.attach(backbone, prefix_tuning.Config())
