import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from peftbench.costs.describe import describe
from peftbench.errors import CostError, ModelError
from tests.tiny import ENCODERS, FAMILIES, GEMMAS, tiny_backbone, tiny_folder

LLAMA = {
    "model_type": "llama", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50, "max_position_embeddings": 64,
}  # fmt: skip
BLOOM = {"model_type": "bloom", "n_embed": 24, "n_layer": 3, "n_head": 2, "vocab_size": 50}
GPT2 = {"model_type": "gpt2", "n_embd": 24, "n_layer": 3, "n_head": 2, "vocab_size": 50, "n_positions": 9}


def config(folder, table):
    path = folder / "config.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return str(path)


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_a_folder_gives_the_sizes_and_parameters_of_the_loaded_model(family, tmp_path):
    folder, backbone = tiny_folder(family, tmp_path), tiny_backbone(family)
    for name in (str(folder), str(folder / "config.json")):
        described = describe(name)
        assert (described.shape.sizes, described.num_parameters) == (backbone.sizes, backbone.num_parameters)
        assert described.shape.max_positions == backbone.max_positions
        assert described.has_weights


def test_a_t5_whose_config_unties_the_head_has_the_head_s_parameters(tmp_path):
    table = json.loads((tiny_folder("t5-v1.0", tmp_path) / "config.json").read_text())
    (tmp_path / "model.safetensors").unlink()
    tied, untied = (
        describe(config(tmp_path, table | {"tie_word_embeddings": tied})).num_parameters for tied in (True, False)
    )
    assert untied - tied == table["vocab_size"] * table["d_model"]


@pytest.mark.parametrize(
    "table", [LLAMA, GPT2, BLOOM, *(LLAMA | {"model_type": kind, "pad_token_id": 0} for kind in (*GEMMAS, "phi3"))]
)
def test_a_config_of_a_few_lines_counts_as_transformers_builds_it(table, tmp_path):
    path = config(tmp_path, table)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**table))
    assert describe(path).num_parameters == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("table", "published"),
    [
        ({"model_type": "gpt_neox", "intermediate_size": 4096, "vocab_size": 50_304}, 405_334_016),  # Pythia 410M
        ({"model_type": "bloom", "vocab_size": 250_880}, 559_214_592),  # BLOOM 560M
    ],
)
def test_the_interleaved_families_have_the_parameters_of_their_checkpoints(table, published, tmp_path):
    shape = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
    assert describe(config(tmp_path, shape | table)).num_parameters == published


def test_published_and_embedded_names_are_known():
    assert describe("t0-11b").num_parameters == describe("T0-11B").num_parameters == 11_135_332_352
    assert describe("gpt3-175b").shape.max_positions == 2048
    assert describe("mini-t0").has_weights


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_attention_heads": 5}, "heads"),
        ({"num_attention_heads": 0}, "config.json'"),
        ({"num_hidden_layers": 0}, "num_decoder_layers = 0"),
        ({"num_hidden_layers": -1}, "num_decoder_layers = -1"),
        ({"hidden_size": "wide"}, "config.json'"),
        ({"num_key_value_heads": 3}, "num_kv_heads"),
        ({"vocab_size": 10**9}, "1,000,000,000"),
    ],
)
def test_an_impossible_config_is_one_clear_line_and_no_number(change, told, tmp_path):
    with pytest.raises(CostError, match=told) as caught:
        describe(config(tmp_path, LLAMA | change))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("table", [GPT2, BLOOM])
def test_heads_that_do_not_divide_are_seen_before_they_are_rounded_away(table, tmp_path):
    with pytest.raises(CostError, match="do not divide"):
        describe(config(tmp_path, table | {"n_head": 5}))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"model_type": "electra"}, "unknown model family 'electra'"),
        ({"a": 1}, "no model config"),
        ("{", "no model config"),
    ],
)
def test_what_is_no_config_of_a_known_family_is_refused(table, told, tmp_path):
    with pytest.raises((CostError, ModelError), match=told):
        describe(config(tmp_path, table))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"model_type": null}', '{"model_type": ["llama"]}', "\xe9"])
def test_f9_what_is_no_config_at_all_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match="no model config") as caught:
        describe(str(tmp_path))
    assert caught.value.hint


@pytest.mark.parametrize("table", [LLAMA, GPT2, BLOOM])
def test_f13_a_million_layers_are_refused_at_once(table, tmp_path):
    change = {name: 10**6 for name in ("num_hidden_layers", "n_layer") if name in table}
    with pytest.raises(CostError, match=r"_layers? = 1000000") as caught:
        describe(config(tmp_path, table | change))
    assert caught.value.hint == "at most 1,000 layers"


def test_f10_a_name_that_no_file_has_is_refused():
    with pytest.raises(ModelError, match="256 characters"):
        describe("a" * 256)


def test_a_folder_without_a_config_is_not_an_unknown_name(tmp_path):
    with pytest.raises(ModelError, match=r"has no config\.json"):
        describe(str(tmp_path))


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(ModelError, match="unknown model 't0-11'") as caught:
        describe("t0-11")
    assert "did you mean 't0-11b'?" in caught.value.hint


def test_an_encoder_decoder_s_config_counts_as_transformers_builds_it(tmp_path):
    table = {
        "model_type": "t5", "d_model": 24, "d_kv": 10, "d_ff": 40, "num_layers": 3, "num_decoder_layers": 2,
        "num_heads": 4, "vocab_size": 50, "feed_forward_proj": "relu",
    }  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(**table))
    described = describe(config(tmp_path, table))
    assert described.num_parameters == sum(parameter.numel() for parameter in model.parameters())
