"""What prompts share, run in parts: the keys and values of one pass, whatever the parts."""

import pytest
import torch
from transformers import DynamicCache

from peftbench.costs.storage import cache_bytes
from peftbench.scoring import prefill
from tests.scoring.test_score import DECODERS, Virtual
from tests.tiny import tiny_backbone

IDS = [5, 9, 4, 7, 6, 8, 5, 4, 9]


@torch.no_grad()
def filled(backbone, num_virtual, budget):
    cache = DynamicCache()
    prefill.fill(backbone, num_virtual, IDS, cache, budget)
    return tensors(cache)


def tensors(cache):
    return [states for layer in cache.layers for states in (layer.keys, layer.values)]


@pytest.mark.parametrize("num_virtual", [0, 3])
@pytest.mark.parametrize("family", DECODERS)
def test_keys_and_values_are_those_of_one_pass(family, num_virtual):
    backbone = tiny_backbone(family)
    if num_virtual:
        backbone.set_soft_prompt(Virtual(torch.randn(num_virtual, backbone.sizes.d_model)))
    whole = filled(backbone, num_virtual, 100)
    for budget in (1, 4, 5):
        for ours, expected in zip(filled(backbone, num_virtual, budget), whole, strict=True):
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("num_virtual", "num_tokens", "parts"),
    [
        (0, 0, []),
        (0, 8, [(4, 0), (4, 4)]),
        (0, 9, [(4, 0), (4, 4), (1, 8)]),
        (6, 13, [(6, 0), (4, 6), (3, 10)]),  # the soft prompt is not cut
    ],
)
def test_the_shapes_are_those_of_the_parts(num_virtual, num_tokens, parts):
    shapes = prefill.passes(num_virtual, num_tokens, 4)
    assert [(shape.decoder_tokens, shape.cached_tokens) for shape in shapes] == parts
    assert {shape.head_tokens for shape in shapes} <= {0}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", DECODERS)
def test_the_cache_takes_the_bytes_that_are_counted(family, dtype):
    """A window's layers keep all keys, too: queries stand at other places of it."""
    backbone = tiny_backbone(family)
    backbone.model.to(dtype)
    num_bytes = sum(states.nbytes for states in filled(backbone, 0, 4))
    assert num_bytes == cache_bytes(backbone.sizes, len(IDS), dtype.itemsize)
