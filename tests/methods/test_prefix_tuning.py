import json

import peft
import pytest
import torch
from peft.tuners.prefix_tuning import PrefixEncoder
from pydantic import ValidationError

from peftbench.adapters import saved
from peftbench.errors import MethodError
from peftbench.methods import prefix_tuning
from peftbench.store.seal import FIELD, sealed
from tests.methods.published import T0_3B
from tests.tiny import tiny_backbone


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


def test_a_prefix_stands_at_no_position_or_at_all_that_are_before_the_input():
    prefix_tuning.Config(num_virtual_tokens=3, position_offset=3)
    with pytest.raises(ValidationError, match="neither 0 nor num_virtual_tokens"):
        prefix_tuning.Config(num_virtual_tokens=3, position_offset=4)


def test_a_backbone_without_attention_blocks_is_an_error(monkeypatch):
    backbone = tiny_backbone("llama")
    monkeypatch.setattr(backbone, "attentions", list)
    with pytest.raises(MethodError, match="attention blocks"):
        prefix_tuning.attach(backbone, prefix_tuning.Config())


def test_two_virtual_tokens_out_of_the_mlp_are_trained_as_in_t_fews_code_and_saved_as_the_papers_576k():
    config = prefix_tuning.Config(num_virtual_tokens=2, reparameterize=True, hidden_size=512)
    assert prefix_tuning.added(T0_3B, config).num_parameters == 154_449_408


def test_the_mlp_is_folded_into_the_keys_and_values_that_it_gave():
    config = prefix_tuning.Config(num_virtual_tokens=3, reparameterize=True, hidden_size=5)
    backbone = tiny_backbone("t5")
    prefix_tuning.attach(backbone, config)
    block = backbone.model.get_submodule("decoder.block.1.layer.1.EncDecAttention")
    shared = backbone.model.prefix_mlp_decoder_cross
    both = torch.tanh(shared.E @ shared.W_1 + shared.b_1) @ block.prefix.W_2 + block.prefix.b_2  # (3, 2 * 4 * 6)
    assert prefix_tuning.finish(backbone, config) == prefix_tuning._names(backbone.attentions())
    torch.testing.assert_close(block.prefix.k[1, 2], both[2, 6:12])
    torch.testing.assert_close(block.prefix.v[3, 0], both[0, 24 + 18 : 24 + 24])
    assert not hasattr(backbone.model, "prefix_mlp_decoder_cross")


@pytest.mark.parametrize("reparameterize", [False, True])
def test_it_starts_as_large_as_pefts_prefix(reparameterize):
    torch.manual_seed(0)
    backbone = tiny_backbone("gpt2")
    config = prefix_tuning.Config(num_virtual_tokens=60, reparameterize=reparameterize, hidden_size=40)
    prefix_tuning.attach(backbone, config)
    ours = [values for block in backbone.attentions() for values in backbone.prefixes[block]()]
    sizes = backbone.sizes
    theirs = PrefixEncoder(
        peft.PrefixTuningConfig(
            num_virtual_tokens=60,
            prefix_projection=reparameterize,
            encoder_hidden_size=40,
            num_layers=len(ours) // 2,
            token_dim=sizes.num_kv_heads * sizes.d_kv,
        )
    )(torch.arange(60))
    assert theirs.numel() == sum(values.numel() for values in ours)
    ratio = torch.stack(ours).std() / theirs.std()
    assert ratio.item() == pytest.approx(1, rel=0.1)


def test_an_adapter_from_before_the_start_was_a_setting_holds_its_values_still(tmp_path):
    backbone, config = tiny_backbone("gpt2"), prefix_tuning.Config(num_virtual_tokens=2)
    names = prefix_tuning.attach(backbone, config)
    saved.save(tmp_path / "a", backbone, "prefix_tuning", config, names)
    values = {name: value.clone() for name, value in backbone.tensors_named(names).items()}
    backbone.detach_all()
    card = json.loads((tmp_path / "a" / saved.CARD).read_text())
    del card["config"]["init_std"], card[FIELD]
    (tmp_path / "a" / saved.CARD).write_text(sealed(json.dumps(card, indent=2)))
    saved.load(tmp_path / "a", backbone)
    assert all(torch.equal(value, values[name]) for name, value in backbone.tensors_named(names).items())
