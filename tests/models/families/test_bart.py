import json

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, BartModel

from peftbench.costs.describe import describe
from peftbench.errors import CostError, ModelError
from peftbench.models.load import load
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs
from peftbench.scoring.score import score
from peftbench.spec.cell import Scoring
from tests.scoring.prompts import example
from tests.tiny import bart, tiny_backbone, tiny_folder, tiny_tokenizer

WIDTHS = {
    "vocab_size": 50, "d_model": 24, "encoder_ffn_dim": 40, "decoder_ffn_dim": 40, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_layers": 3, "decoder_layers": 1, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture
def small():
    """Load a BART of sixteen positions."""

    def small(folder):
        tiny_folder("bart", folder)
        model = bart("bart", len(tiny_tokenizer("bart")), max_position_embeddings=16)
        model.save_pretrained(folder)
        return load(str(folder), device="cpu")

    return small


def described(folder, **change):
    path = folder / "config.json"
    path.write_text(json.dumps({"model_type": "bart", **WIDTHS, **change}))
    return describe(str(path))


@torch.no_grad()
def test_the_decoder_starts_from_two_tokens_and_the_second_is_not_scored():
    backbone = tiny_backbone("bart")
    start, opening = backbone.model.config.decoder_start_token_id, backbone.model.config.bos_token_id
    log_probs, _ = choice_log_probs(backbone, [Encoded((2, 7, 8, 1), ((9, 1), (10, 11, 1)), (0, 0))])
    ids = torch.tensor([[start, opening, 10, 11]])
    logits = backbone.model(torch.tensor([[2, 7, 8, 1]]), decoder_input_ids=ids).logits.log_softmax(-1)
    torch.testing.assert_close(log_probs[0, 1], torch.stack([logits[0, 1, 10], logits[0, 2, 11], logits[0, 3, 1]]))


def test_a_bart_without_a_token_that_opens_texts_starts_from_one(tmp_path):
    assert described(tmp_path).shape.sizes.num_start_tokens == 2
    assert described(tmp_path, bos_token_id=2, decoder_start_token_id=2).shape.sizes.num_start_tokens == 1
    assert described(tmp_path, bos_token_id=None).shape.sizes.num_start_tokens == 1


def test_stacks_of_different_depth_count_as_transformers_builds_them(tmp_path):
    with torch.device("meta"):
        model = BartForConditionalGeneration(BartConfig(**WIDTHS))
    assert described(tmp_path).num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decoder_ffn_dim": 48}, "encoder_ffn_dim = 40 and decoder_ffn_dim = 48"),
        ({"decoder_attention_heads": 2}, "encoder_attention_heads = 4 and decoder_attention_heads = 2"),
        ({"encoder_attention_heads": 5, "decoder_attention_heads": 5}, "5 heads do not divide 24 features"),
        ({"tie_word_embeddings": False}, "embeddings are not tied"),
    ],
)
def test_what_is_not_counted_here_is_refused(change, told, tmp_path):
    with pytest.raises(CostError, match=told) as caught:
        described(tmp_path, **change)
    assert "\n" not in caught.value.message


def test_weights_of_such_a_bart_are_refused_too(tmp_path):
    tiny_folder("bart", tmp_path)
    bart("bart", len(tiny_tokenizer("bart")), decoder_ffn_dim=24).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="decoder_ffn_dim = 24"):
        load(str(tmp_path), device="cpu")


def test_a_checkpoint_of_the_stacks_alone_has_the_embeddings_as_head_and_no_bias_on_its_logits(tmp_path):
    tiny_folder("bart", tmp_path)
    stacks = BartModel(BartForConditionalGeneration.from_pretrained(tmp_path).config)
    stacks.save_pretrained(tmp_path)
    backbone = load(str(tmp_path), device="cpu")
    assert torch.equal(backbone.model.lm_head.weight, stacks.shared.weight)
    assert not backbone.model.final_logits_bias.any()


def test_encoder_and_decoder_have_positions_of_their_own(small, tmp_path):
    backbone = small(tmp_path)
    words = "yes " * 14  # <s> and </s> besides, and in the decoder </s> and <s>
    scores = score(backbone, [example(words, (words, "no"))], Scoring(end="eos", separator=""))
    assert scores.choices[0][0].num_tokens == 15
    for prompt in (example(words + "yes", ("no",)), example("no", (words + "yes",))):
        with pytest.raises(ModelError, match=r"a prompt has 17 tokens, and '.*' takes 16"):
            score(backbone, [prompt], Scoring(end="eos", separator=""))
