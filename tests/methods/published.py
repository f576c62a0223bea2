"""The shapes of the models in the paper, and T0-3B as a backbone without weights."""

import torch
from transformers import T5Config, T5ForConditionalGeneration

from peftbench import registry
from peftbench.models.backbone import Backbone
from peftbench.models.shapes import Sizes

T0_3B = Sizes(True, 24, 24, 2048, 64, 5120, 32, 32, True, 32128)
T0_11B = Sizes(True, 24, 24, 4096, 64, 10240, 64, 64, True, 32128)


def t0_3b_without_weights():
    shape = {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32}
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(feed_forward_proj="gated-gelu", **shape))
    return Backbone(
        name="t0-3b", revision=None, fingerprint="", model=model, tokenizer=None, family=registry.family("t5")
    )
