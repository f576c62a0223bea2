"""DeBERTa with this package's attention, against transformers' own."""

import json

import pytest
import torch
from torch import nn
from transformers import DebertaV2Config, DebertaV2ForMaskedLM

from peftbench.costs.describe import describe
from peftbench.errors import CostError, ModelError
from peftbench.models.disentangled import Attending
from peftbench.models.load import load
from tests.tiny import encoder, tiny_backbone, tiny_folder, tiny_tokenizer

VARIANTS = [
    ({"conv_kernel_size": 3}, "conv_kernel_size = 3"),
    ({"share_att_key": False}, "share_att_key = False"),
    ({"pos_att_type": ["c2p"]}, "pos_att_type"),
    ({"position_biased_input": True}, "position_biased_input = True"),
    ({"norm_rel_ebd": "none"}, "norm_rel_ebd = none"),
    ({"position_buckets": -1}, "position_buckets = -1"),
]


def test_logits_and_gradients_are_those_of_transformers_with_padding_at_either_end(tmp_path):
    backbone = load(str(tiny_folder("deberta-v2", tmp_path / "model")), device="cpu")
    assert all(type(layer.attention.self) is Attending for layer in backbone.model.deberta.encoder.layer)
    theirs = DebertaV2ForMaskedLM.from_pretrained(tmp_path / "model").eval()
    ids = torch.randint(4, 300, (3, 20), generator=torch.Generator().manual_seed(0))
    seen = torch.ones_like(ids)
    seen[1, 12:] = seen[2, :5] = 0
    logits = []
    for model in (backbone.model, theirs):
        model.requires_grad_(True)
        logits.append(model(input_ids=ids, attention_mask=seen).logits)
        (logits[-1][seen.bool()] ** 2).mean().backward()
    torch.testing.assert_close(logits[0][seen.bool()], logits[1][seen.bool()], atol=1e-5, rtol=1e-5)
    for (name, ours), parameter in zip(backbone.model.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


class Prefix(nn.Module):
    """Keys and values of one block, all zeros."""

    def __init__(self, block, num_keys):
        super().__init__()
        self.zeros = torch.zeros(block.num_kv_heads, num_keys, block.d_kv)

    def forward(self):
        return self.zeros, self.zeros


def test_distances_add_nothing_to_the_scores_of_a_prefix():
    """Without scores of its own a token sees all keys alike: with as many of zeros as tokens, half of the values."""
    backbone = tiny_backbone("deberta-v2")
    block = backbone.attentions()[0]
    layer = backbone.model.get_submodule(block.module)
    states, mask = torch.randn(1, 4, 16, generator=torch.Generator().manual_seed(0)), torch.ones(1, 1, 4, 4)
    distances = torch.zeros(1, 4, 4, dtype=torch.long)
    with torch.no_grad():
        for name in ("query_proj", "key_proj"):
            layer.get_submodule(name).weight.zero_()
            layer.get_submodule(name).bias.zero_()
        arguments = {"relative_pos": distances, "rel_embeddings": torch.randn(12, 16)}
        before, _ = layer(states, mask, **arguments)
        backbone.insert_prefix(block, Prefix(block, 4))
        torch.testing.assert_close(2 * layer(states, mask, **arguments)[0], before)


@pytest.mark.parametrize(("change", "told"), VARIANTS)
def test_other_variants_are_refused_in_one_line(change, told, tmp_path):
    encoder("deberta-v2", len(tiny_tokenizer("deberta-v2")), **change).save_pretrained(tmp_path)
    tiny_tokenizer("deberta-v2").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=told) as caught:
        load(str(tmp_path), device="cpu")
    assert "\n" not in caught.value.message
    with pytest.raises(CostError, match=told):
        describe(str(tmp_path))


def test_a_published_config_counts_as_transformers_builds_it(tmp_path):
    """deberta-v3-base, as its config.json has it."""
    table = {
        "model_type": "deberta-v2", "attention_probs_dropout_prob": 0.1, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02, "intermediate_size": 3072,
        "max_position_embeddings": 512, "relative_attention": True, "position_buckets": 256,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p", "layer_norm_eps": 1e-7,
        "max_relative_positions": -1, "position_biased_input": False, "num_attention_heads": 12,
        "num_hidden_layers": 12, "type_vocab_size": 0, "vocab_size": 128100,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(table))
    with torch.device("meta"):
        model = DebertaV2ForMaskedLM(DebertaV2Config(**table))
    assert describe(str(tmp_path)).num_parameters == sum(parameter.numel() for parameter in model.parameters())
