"""Folders that peft wrote, as starting points: against peft's own log-probs."""

import copy
import json
import re
import time
from functools import cache

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from peftbench import registry
from peftbench.adapters import starts
from peftbench.adapters.peft import read
from peftbench.errors import MethodError
from peftbench.scoring.forward import choice_log_probs
from tests.adapters.random_adapters import by_peft
from tests.scoring.prompts import encode_one
from tests.tiny import tiny_backbone

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of peft, about its own files
loaded = cache(tiny_backbone)
ALL = "all-linear"
# peft's config, and the method that goes on from it.
FORMS = {
    "ia3": (peft.IA3Config, {}, "ia3"),  # on GPT-2 peft's own choice scales the queries too
    "lora": (peft.LoraConfig, {"r": 3, "lora_alpha": 7}, "lora"),
    "rslora": (peft.LoraConfig, {"r": 3, "lora_alpha": 7, "use_rslora": True, "target_modules": ALL}, "lora"),
    "adalora": (peft.AdaLoraConfig, {"total_step": 9, "init_r": 3, "target_r": 2, "target_modules": ALL}, "adalora"),
    "prompt": (peft.PromptTuningConfig, {"num_virtual_tokens": 4}, "prompt_tuning"),
    "p-tuning": (peft.PromptEncoderConfig, {"num_virtual_tokens": 4, "encoder_hidden_size": 8}, "prompt_tuning"),
    "beft": (peft.BeftConfig, {"target_modules": r".*(\.v|\.v_proj)"}, "bitfit"),
    "norms": (peft.LNTuningConfig, {}, "layernorm"),
}


def bare(family):
    backbone = loaded(family)
    backbone.detach_all()
    return backbone


def written(folder, backbone, kind, settings):
    """Let peft put a method with random values on a copy of the model, and write it."""
    torch.manual_seed(0)
    task = "SEQ_2_SEQ_LM" if backbone.is_encoder_decoder else "CAUSAL_LM"
    model = peft.get_peft_model(copy.deepcopy(backbone.model), kind(task_type=task, **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def attached(folder, backbone):
    """Attach what a folder holds; give the method's name."""
    start = starts.read(folder, lambda: read.describe(backbone.name))
    method = registry.method(start.method)
    starts.load(start, backbone, method.attach(backbone, method.Config(**start.settings(start.method, {}))))
    return start.method


def log_probs(backbone):
    prompt = encode_one(backbone, "the premise says that", ["yes it does", "no"], end="eos", separator="", label=0)
    with torch.no_grad():
        return prompt, choice_log_probs(backbone, [prompt])[0][0]


# peft's BEFT takes no Conv1D.
CASES = [(form, family) for form in FORMS for family in ("t5", "gpt2", "llama") if (form, family) != ("beft", "gpt2")]


@pytest.mark.parametrize(("form", "family"), CASES)
def test_before_the_first_step_it_gives_the_log_probs_that_peft_gives(form, family, tmp_path):
    kind, settings, method = FORMS[form]
    backbone = bare(family)
    model = written(tmp_path, backbone, kind, settings)
    _, plain = log_probs(backbone)
    assert attached(tmp_path, backbone) == method
    assert not torch.allclose(log_probs(backbone)[1], plain, atol=1e-3)
    same(backbone, model)


def same(backbone, model):
    prompt, ours = log_probs(backbone)
    for found, ids, start in zip(ours, prompt.choices, prompt.starts, strict=True):
        expected = by_peft(model, prompt.context, ids)[start:]
        assert torch.allclose(found[: len(expected)], expected, atol=1e-5)


def test_a_layer_of_which_adalora_kept_less_is_scaled_as_peft_scales_it(tmp_path):
    backbone = bare("llama")
    kind, settings, _ = FORMS["adalora"]
    model = written(tmp_path, backbone, kind, settings)
    pattern = {"model.layers.0.self_attn.q_proj.lora_E": [True, False, True]}
    model.base_model.resize_modules_by_rank_pattern(pattern, "default")
    model.save_pretrained(tmp_path)
    attached(tmp_path, backbone)
    same(backbone, model)


REFUSED = [
    ("t5", peft.LoraConfig, {"use_dora": True}, "use_dora = true"),
    ("t5", peft.LoraConfig, {"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ("t5", peft.LoraConfig, {"bias": "lora_only"}, 'bias = "lora_only"'),
    ("t5", peft.LoraConfig, {"rank_pattern": {"q": 2}}, r"has rank 2 and '.*' 8|has rank 8 and '.*' 2"),
    ("t5", peft.LoraConfig, {"alpha_pattern": {"q": 2}}, r"has scale 0\.25 and '.*' 1|has scale 1 and '.*' 0\.25"),
    ("t5", peft.LoraConfig, {"target_modules": ["SelfAttention.q"]}, "4 of the 6 layers of the role 'q'"),
    ("t5", peft.LoraConfig, {"target_modules": ["q", "lm_head"]}, "holds 'lm_head"),
    ("t5", peft.LoraConfig, {"init_lora_weights": "pissa"}, "init_lora_weights = pissa rewrites"),
    ("gpt_neox", peft.IA3Config, {}, "in the role 'q'"),  # where rotary positions stand between queries and keys
    ("gpt2", peft.IA3Config, {"target_modules": ["c_attn"], "feedforward_modules": ["c_attn"]}, "scales the input"),
    ("llama", peft.LNTuningConfig, {"target_modules": ["input_layernorm"]}, "2 of the 5 norms"),
    ("llama", peft.LNTuningConfig, {"target_modules": ["q_proj"]}, "that is no norm"),
    ("llama", peft.AdaLoraConfig, {"total_step": 9, "target_modules": ["q_proj"]}, "does not act on"),
    ("llama", peft.PrefixTuningConfig, {"num_virtual_tokens": 2}, "peft_type PREFIX_TUNING"),
    ("llama", peft.LoHaConfig, {"target_modules": ["q_proj"]}, "peft_type LOHA"),
]


@pytest.mark.parametrize(("family", "kind", "settings", "words"), REFUSED, ids=[words for *_, words in REFUSED])
def test_what_has_no_place_here_is_refused_by_its_name(family, kind, settings, words, tmp_path):
    backbone = bare(family)
    written(tmp_path, backbone, kind, settings)
    with pytest.raises(MethodError, match=words) as caught:
        attached(tmp_path, backbone)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("made", "other", "words"),
    [
        ("llama", "gpt2", "acts on 'model.layers.0"),
        ("t5", "llama", "task_type is SEQ_2_SEQ_LM"),
        ("llama", "qwen3", "other weights"),
    ],
)
def test_an_adapter_of_another_model_is_refused(made, other, words, tmp_path):
    source = bare(made)
    written(tmp_path, source, peft.LoraConfig, {})
    if words == "other weights":  # of the same shape: only a folder that was written here says whose it is
        path = tmp_path / "adapter_model.safetensors"
        note = {"method": "lora", "config": {"rank": 8}, "fingerprint": source.fingerprint}
        save_file(load_file(path), path, metadata={"peftbench": json.dumps(note)})
    with pytest.raises(MethodError, match=words):
        attached(tmp_path, bare(other))


def test_a_tensor_of_another_width_and_a_damaged_folder_are_refused(tmp_path):
    backbone = bare("llama")
    written(tmp_path, backbone, peft.LoraConfig, {})
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    key = next(key for key in tensors if "lora_B" in key)
    save_file(tensors | {key: tensors[key][1:].clone()}, path)
    with pytest.raises(MethodError, match="and the layer takes"):
        attached(tmp_path, backbone)
    save_file({name: tensor for name, tensor in tensors.items() if name != key}, path)
    with pytest.raises(MethodError, match=r"lacks lora_B\.weight"):
        attached(tmp_path, backbone)
    save_file(tensors | {"base_model.model.lm_head.weight": torch.zeros(1)}, path)
    with pytest.raises(MethodError, match=r"holds 'lm_head\.weight', for which there is no place"):
        attached(tmp_path, backbone)
    path.write_bytes(path.read_bytes()[:99])
    with pytest.raises(MethodError, match="is damaged"):
        attached(tmp_path, backbone)
    path.unlink()
    with pytest.raises(MethodError, match=r"has no adapter_model\.safetensors"):
        attached(tmp_path, backbone)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(MethodError, match="is damaged"):
        attached(tmp_path, backbone)


def edit(folder, **fields):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def lora(folder, **fields):
    """Let peft write a LoRA on the queries and values of a Llama, and change fields of its config."""
    backbone = bare("llama")
    written(folder, backbone, peft.LoraConfig, {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]})
    edit(folder, **fields)
    return backbone


@pytest.mark.parametrize(
    "pattern", ["q_proj", r"self_attn\.q_proj", r"model\.layers\.\d", "^q_proj", "^model.layers.0.self_attn.q_proj"]
)
def test_a_pattern_gives_the_layers_that_peft_gives_it(pattern, tmp_path):
    """Where all layers end up with one scale: a pattern that no layer matches leaves them as they are."""
    backbone = lora(tmp_path, alpha_pattern={pattern: 4})
    if "\\d" in pattern:
        with pytest.raises(MethodError, match="regular expression"):
            attached(tmp_path, backbone)
        return
    assert attached(tmp_path, backbone) == "lora"
    edit(tmp_path, alpha_pattern={pattern: 8})
    names = [f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")]
    matched = [name for name in names if re.match(rf"(.*\.)?({pattern})$", name)]  # peft's own rule
    if matched:
        with pytest.raises(MethodError, match="has scale"):
            attached(tmp_path, bare("llama"))
    else:
        assert attached(tmp_path, bare("llama")) == "lora"


@pytest.mark.parametrize("pattern", ["(a+)+$", "(.*)*x", "(", "[", "q_proj|v_proj", "x" * 2000])
def test_f13_a_strangers_pattern_ends_soon(pattern, tmp_path):
    backbone = lora(tmp_path, alpha_pattern={pattern: 1, "(.|[a-z]|_)*#": 2})
    started = time.monotonic()
    with pytest.raises(MethodError) as error:
        attached(tmp_path, backbone)
    assert time.monotonic() - started < 1
    assert error.value.hint


FIELDS = [
    {"lora_alpha": "x"}, {"lora_alpha": float("nan")}, {"lora_alpha": None}, {"peft_type": ["LORA"]}, {"peft_type": {}},
    {"peft_type": 3}, {"task_type": "\x1b[31m"}, {"task_type": [1]}, {"alpha_pattern": 3}, {"alpha_pattern": {"x": ""}},
    {"base_model_name_or_path": 3}, {"num_virtual_tokens": "x"}, {"init_r": 0}, {"target_r": 1e30},
]  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS, ids=[json.dumps(fields) for fields in FIELDS])
def test_f9_a_field_of_another_kind_is_refused_in_one_line(fields, tmp_path):
    backbone = lora(tmp_path, **fields)
    with pytest.raises(MethodError) as error:
        attached(tmp_path, backbone)
    assert error.value.hint
    assert error.value.message.isprintable()


NOTES = ["[]", "3", "{", "[" * 9999, '{"config": 3}', '{"method": "lora", "config": {"rank": "x"}}']
NOTES += ['{"method": "lora", "config": {"roles": 3}}', '{"fingerprint": 3}']


@pytest.mark.parametrize("note", NOTES, ids=[note[:40] for note in NOTES])
def test_f9_a_note_of_another_kind_is_refused_in_one_line(note, tmp_path):
    backbone = lora(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file(load_file(path), path, metadata={"peftbench": note})
    with pytest.raises(MethodError, match=r"adapter_model\.safetensors") as error:
        attached(tmp_path, backbone)
    assert error.value.hint


@pytest.mark.parametrize("change", [torch.Tensor.flatten, torch.Tensor.int, lambda tensor: tensor[:0]])
def test_f9_tensors_of_another_kind_are_refused_in_one_line(change, tmp_path):
    backbone = lora(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    save_file({name: change(tensor).clone() for name, tensor in load_file(path).items()}, path)
    with pytest.raises(MethodError) as error:
        attached(tmp_path, backbone)
    assert error.value.hint
