import json

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from peftbench.costs.describe import describe
from peftbench.errors import CostError, ModelError
from peftbench.models.load import load
from tests.scoring.prompts import encode_one
from tests.tiny import opt, tiny_folder, tiny_tokenizer

WIDTHS = {
    "vocab_size": 50, "hidden_size": 24, "ffn_dim": 40, "num_attention_heads": 4, "num_hidden_layers": 3,
    "max_position_embeddings": 64,
}  # fmt: skip
VARIANTS = [
    ({"word_embed_proj_dim": 16, "do_layer_norm_before": False}, "word_embed_proj_dim = 16 and hidden_size"),
    ({"do_layer_norm_before": False}, "do_layer_norm_before = false"),
    ({"_remove_final_layer_norm": True}, "_remove_final_layer_norm = true"),
    ({"layer_norm_elementwise_affine": False}, "layer_norm_elementwise_affine = false"),
]


def described(folder, **change):
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": "opt", **WIDTHS, **change}))
    return describe(str(path))


@pytest.mark.parametrize("change", [{}, {"enable_bias": False}])
def test_a_config_counts_as_transformers_builds_it(change, tmp_path):
    with torch.device("meta"):
        model = OPTForCausalLM(OPTConfig(**WIDTHS, **change))
    assert described(tmp_path, **change).num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("change", "told"), VARIANTS)
def test_variants_of_single_models_are_refused_in_one_line(change, told, tmp_path):
    with pytest.raises(CostError, match=told) as caught:
        described(tmp_path, **change)
    assert "\n" not in caught.value.message
    assert "opt-350m" in caught.value.hint
    tiny_folder("opt", tmp_path)
    opt("opt", len(tiny_tokenizer("opt")), **change).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="an OPT with"):
        load(str(tmp_path), device="cpu")


def test_the_token_that_opens_texts_and_ends_them_stands_before_a_prompt_once(tmp_path):
    backbone = load(str(tiny_folder("opt", tmp_path)), device="cpu")
    encoded = encode_one(backbone, "the answer", ["yes", "no"], end="eos", separator="")
    assert (encoded.context[0], encoded.context.count(1)) == (1, 1)
    assert [ids[-1] for ids in encoded.choices] == [1, 1]
