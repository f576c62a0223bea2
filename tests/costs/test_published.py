import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, T5Config, T5ForConditionalGeneration

from peftbench.costs.published import SHAPES, Shape, num_parameters
from peftbench.models.shapes import Sizes


@pytest.mark.parametrize(
    ("name", "count"),
    [("t0-3b", 2_849_757_184), ("t0-11b", 11_135_332_352), ("t5-lm-11b", 11_135_332_352)],
)
def test_t0_has_the_parameters_of_its_checkpoint(name, count):
    assert num_parameters(SHAPES[name]) == count


@pytest.mark.parametrize(("name", "published"), [("gpt3-6.7b", 6.7e9), ("gpt3-13b", 13e9), ("gpt3-175b", 175e9)])
def test_gpt3_shapes_have_about_the_published_parameters(name, published):
    assert num_parameters(SHAPES[name]) == pytest.approx(published, rel=0.012)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_gpt2_as_transformers_builds_it():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            GPT2Config(n_embd=24, n_layer=3, n_head=2, vocab_size=50, n_positions=9)
        )
    biased = ("q", "k", "v", "o", "ff_up", "ff_out")
    sizes = Sizes(
        False, 0, 3, 24, 12, 96, 2, 2, gated=False, vocab_size=50, biased=biased, norm_biases=True,
        num_other_parameters=9 * 24,
    )  # fmt: skip
    assert num_parameters(Shape(sizes, tied=True)) == count(model)


@pytest.mark.parametrize("tied", [True, False])
def test_llama_with_grouped_queries_as_transformers_builds_it(tied):
    config = LlamaConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        head_dim=10, vocab_size=50, tie_word_embeddings=tied,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    sizes = Sizes(False, 0, 3, 24, 10, 40, 4, 2, gated=True, vocab_size=50)
    assert num_parameters(Shape(sizes, tied=tied)) == count(model)


def test_t5_v1_0_as_transformers_builds_it():
    config = T5Config(
        vocab_size=50, d_model=24, d_kv=10, d_ff=40, num_layers=3, num_decoder_layers=2, num_heads=4,
        feed_forward_proj="relu", relative_attention_num_buckets=8,
    )  # fmt: skip
    with torch.device("meta"):
        model = T5ForConditionalGeneration(config)
    sizes = Sizes(True, 3, 2, 24, 10, 40, 4, 4, gated=False, vocab_size=50, num_other_parameters=2 * 8 * 4)
    assert num_parameters(Shape(sizes, tied=True)) == count(model)
