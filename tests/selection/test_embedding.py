"""Embeddings by the model's own states, against transformers' own code."""

import gc
import weakref

import numpy as np
import pytest
import torch

from peftbench.costs import count
from peftbench.costs.kernels import kernel_flops
from peftbench.errors import RunError
from peftbench.selection import embedding
from tests.tiny import tiny_backbone

TEXTS = ["the premise says yes", "no", "the hypothesis does follow or not", "no", "question answer true false maybe"]


@pytest.mark.parametrize("family", ["t5", "bart", "llama", "gpt2", "bloom"])
def test_an_embedding_is_the_mean_of_the_states_that_transformers_gives(family):
    backbone = tiny_backbone(family)
    found, tokens = embedding.embed(embedding.OwnStates(backbone), TEXTS)
    model = backbone.model.get_encoder() if backbone.is_encoder_decoder else backbone.model.base_model
    for text, vector in zip(TEXTS, found, strict=True):
        inputs = backbone.tokenizer([text], return_tensors="pt")
        with torch.no_grad():
            states = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
        expected = states[0].mean(0)
        np.testing.assert_allclose(vector, expected / expected.norm(), atol=1e-5)
    assert tokens == tuple(len(backbone.tokenizer(text)["input_ids"]) for text in dict.fromkeys(TEXTS))
    np.testing.assert_array_equal(found[1], found[3])


def test_similarities_are_cosines():
    index = embedding.index(TEXTS, tiny_backbone("llama"))
    (similarities,) = index.similarities([TEXTS[0]])
    assert similarities[0] == pytest.approx(1, abs=1e-5)
    assert index.num_bytes == 4 * index.num_multiplied == 4 * len(TEXTS) * 16


@pytest.mark.parametrize("family", ["t5", "bart", "llama", "gpt2"])
def test_flops_of_reading_a_text_are_those_of_the_kernels_that_ran(family):
    backbone = tiny_backbone(family)
    embedder = embedding.OwnStates(backbone)
    for text in TEXTS[:3]:
        (ids,) = embedder.ids([text])
        assert kernel_flops(lambda text=text: embedding.embed(embedder, [text])) == count.states_flops(
            backbone.sizes, len(ids)
        )


def test_rows_are_read_once_and_a_model_is_let_go_of(monkeypatch):
    backbone = tiny_backbone("llama")
    first = embedding.index(TEXTS, backbone)
    monkeypatch.setattr(embedding, "embed", None)
    again = embedding.index(TEXTS, backbone)
    assert (again.embeddings is first.embeddings, again.seconds, again.tokens) == (True, first.seconds, first.tokens)
    gone = weakref.ref(backbone)
    del backbone, first, again
    gc.collect()
    assert gone() is None


def test_the_oldest_embeddings_are_forgotten_first(monkeypatch):
    backbone = tiny_backbone("llama")
    monkeypatch.setattr(embedding, "MAX_BYTES", 2 * 4 * 16 * 2)
    for texts in (["a", "b"], ["c", "d"], ["e", "f"]):
        embedding.index(texts, backbone)
    assert len(embedding._MEMORIES[backbone]) == 2


def test_a_text_longer_than_the_positions_is_cut():
    backbone = tiny_backbone("gpt2")
    backbone.max_positions = 3
    found, tokens = embedding.embed(embedding.OwnStates(backbone), [TEXTS[0]])
    assert tokens == (3,)
    assert np.isfinite(found).all()


def test_states_that_are_not_finite_are_refused():
    backbone = tiny_backbone("gpt2")
    with torch.no_grad():
        backbone.embeddings.weight.fill_(torch.inf)
    with pytest.raises(RunError, match="hidden states that are not finite"):
        embedding.index(TEXTS, backbone)
