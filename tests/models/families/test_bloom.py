"""BLOOM's seam into attention, against transformers' own attention and its alibi."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BloomConfig
from transformers.models.bloom.modeling_bloom import _get_alibi_slopes

from peftbench.errors import ModelError
from peftbench.models import alibi
from peftbench.models.families import bloom
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring
from tests.scoring.prompts import example
from tests.scoring.test_score import Prefix, Virtual, assert_equal_scores, log_probs, tuned
from tests.tiny import tiny_backbone, tiny_folder

IDS = torch.tensor([[5, 9, 14, 30, 31, 32], [7, 8, 40, 41, 3, 50]])


@pytest.fixture
def theirs(tmp_path):
    return AutoModelForCausalLM.from_pretrained(tiny_folder("bloom", tmp_path)).eval()


@pytest.mark.parametrize("num_heads", [1, 2, 6, 8, 14, 16, 112])
def test_each_head_s_slope_is_transformers(num_heads):
    expected = _get_alibi_slopes(num_heads, torch.device("cpu"))
    torch.testing.assert_close(torch.tensor(alibi.slopes(num_heads)), expected)


@pytest.mark.parametrize("mask", [None, [[1, 1, 1, 1, 0, 0], [1] * 6], [[0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]])
@torch.no_grad()
def test_padding_on_either_side_is_met_as_in_transformers(mask, theirs):
    seen = None if mask is None else torch.tensor(mask)
    found, expected = (model(IDS, attention_mask=seen).logits for model in (tiny_backbone("bloom").model, theirs))
    there = slice(None) if seen is None else seen == 1
    torch.testing.assert_close(found[there], expected[there], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tokens_after_a_cache_are_met_as_in_transformers(theirs):
    ours = tiny_backbone("bloom").model
    cache = ours(IDS[:, :4]).past_key_values
    found = ours(IDS[:, 4:], attention_mask=torch.ones(2, 6), past_key_values=cache).logits
    torch.testing.assert_close(found, theirs(IDS).logits[:, 4:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_virtual_tokens_pass_the_norm_after_the_embeddings_as_other_embeddings_do(theirs):
    backbone = tiny_backbone("bloom")
    prompt = example("the answer is", ("no",))
    words = backbone.tokenizer(prompt.input).input_ids
    backbone.set_soft_prompt(Virtual(backbone.embeddings.weight[[9, 14]].clone()))
    (answer,) = backbone.tokenizer(" no").input_ids
    expected = theirs(torch.tensor([[9, 14, *words]])).logits[0, -1].log_softmax(-1)[answer]
    for cache in (True, False):
        found = score(backbone, [prompt], Scoring(end="none", separator="", cache=cache))
        assert_equal_scores(log_probs(found), [[expected.item()]])


@torch.no_grad()
def test_a_prefix_stands_at_no_distance_from_any_query():
    """One layer's attention by hand."""
    backbone = tiny_backbone("bloom")
    attention = backbone.attentions()[0]
    torch.manual_seed(0)
    prefix, block = Prefix(attention), backbone.model.get_submodule(attention.module)
    backbone.insert_prefix(attention, prefix)
    seen = []
    block.dense.register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    block.query_key_value.register_forward_hook(lambda _module, _args, output: seen.append(output))
    backbone.model(IDS[:1], use_cache=False)
    qkv, summed = seen
    query, key, value = qkv.view(6, 6, 3, 4).permute(2, 1, 0, 3)  # (3, heads, tokens, d_kv)
    since = torch.arange(6)[:, None] - torch.arange(6)
    slopes = torch.tensor(alibi.slopes(6))[:, None, None]
    own = (query @ key.mT / 2 - slopes * since).masked_fill(since < 0, -torch.inf)
    weights = torch.cat((query @ prefix.k.mT / 2, own), -1).softmax(-1)
    expected = (weights @ torch.cat((prefix.v, value), 1)).transpose(0, 1).reshape(1, 6, 24)
    torch.testing.assert_close(summed, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_with_a_prefix_tokens_may_stand_anywhere():
    """Only distances count: padding before the tokens, which moves them, changes nothing."""
    model = tuned("bloom").model
    padded = torch.cat((torch.zeros(2, 3, dtype=torch.long), IDS), 1)
    seen = torch.ones(2, 9, dtype=torch.long)
    seen[:, :3] = 0
    moved = model(padded, attention_mask=seen).logits[:, 3:]
    torch.testing.assert_close(moved, model(IDS).logits, atol=1e-5, rtol=1e-5)


def test_only_the_model_that_was_loaded_is_rewired(tmp_path):
    assert isinstance(tiny_backbone("bloom").model.transformer, alibi.Distanced)
    plain = AutoModelForCausalLM.from_pretrained(tiny_folder("bloom", tmp_path))
    kinds = {type(module) for module in plain.modules()}
    assert not kinds & {alibi.Distanced, alibi.Attending, nn.GELU}


def test_layers_that_would_be_computed_in_pieces_are_refused():
    bloom.sizes(BloomConfig(slow_but_exact=True))
    with pytest.raises(ModelError, match="slow_but_exact"):
        bloom.sizes(BloomConfig(slow_but_exact=True, pretraining_tp=4))
