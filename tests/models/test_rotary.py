import inspect
import sys

import pytest
import torch

from peftbench.models import rotary
from tests.tiny import FAMILIES, tiny_backbone


def rotates(family):
    return getattr(tiny_backbone(family).model.config, "rope_parameters", None) is not None


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_are_turned_as_transformers_turns_them(family):
    if not rotates(family):
        assert not hasattr(tiny_backbone(family).model.base_model, "rotary_emb")
        return
    backbone = tiny_backbone(family)
    attention = backbone.model.get_submodule(backbone.attentions()[0].module)
    keys = torch.randn(1, backbone.sizes.num_kv_heads, 5, backbone.sizes.d_kv)
    angles, args = backbone.model.base_model.rotary_emb, (keys, torch.arange(3, 8)[None])
    # Gemma 3's local and global layers turn by angles of their own.
    args += ("full_attention",) if "layer_type" in inspect.signature(angles.forward).parameters else ()
    cos, sin = angles(*args)
    theirs = vars(sys.modules[type(attention).__module__])["apply_rotary_pos_emb"](keys, keys, cos, sin)[1]
    assert not torch.allclose(theirs, keys, atol=1e-2)
    assert torch.equal(rotary.turn(keys, cos[:, None], sin[:, None]), theirs)
