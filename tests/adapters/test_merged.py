"""What leaves, in plain transformers and in peft, against the adapter on its backbone."""

import copy
from functools import cache

import peft
import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from peftbench import registry
from peftbench.adapters import merged, saved, starts
from peftbench.adapters.peft import read
from peftbench.errors import MethodError
from peftbench.methods.stages import Stages
from peftbench.scoring.forward import choice_log_probs
from tests.scoring.prompts import encode_one
from tests.tiny import FAMILIES, tiny_backbone

IDS = torch.tensor([[5, 9, 20, 31, 7, 40, 12], [8, 8, 30, 2, 6, 19, 33]])
# Added where the model has no bias: a plain checkpoint has no place for it.
NO_PLACE = {("bitfit", "t5")}
# That folding is right on every family is the contract's; here it is writing and reading that counts.
CASES = [*((name, "gpt2") for name in registry.METHODS), ("lora", "t5"), *NO_PLACE]
CASES += [("ia3", family) for family in FAMILIES if family != "gpt2"]


loaded = cache(tiny_backbone)


def bare(family):
    """Give a backbone with nothing attached; the same one to all tests."""
    backbone = loaded(family)
    backbone.detach_all()
    return backbone


def save_random(backbone, folder, name, settings=None, zero=None):
    """Save an adapter with random values; of the first parameter whose name ends in `zero`, zeros."""
    method = registry.method(name)
    config = method.Config(**(settings or {}))
    torch.manual_seed(0)
    names = method.attach(backbone, config)
    backbone.train_only(names)
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for first in [each for each in names if zero and each.endswith(zero)][:1]:
            backbone.model.get_parameter(first).zero_()
    saved.save(folder, backbone, name, config, Stages(method, backbone, config, names).finish())
    backbone.detach_all()
    return folder


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS, **({"decoder_input_ids": IDS[:, :4]} if model.config.is_encoder_decoder else {})).logits


@pytest.mark.parametrize(("name", "family"), CASES)
def test_a_folded_adapter_is_a_plain_checkpoint_with_the_same_logits_or_says_why_it_cannot_be(name, family, tmp_path):
    backbone, out = bare(family), tmp_path / "out"
    folder = save_random(backbone, tmp_path / "a", name)
    plain = logits(backbone.model)
    saved.load(folder, backbone)
    expected = logits(backbone.model)
    backbone.detach_all()
    if registry.method(name).merge is None or (name, family) in NO_PLACE:
        with pytest.raises(MethodError, match=r"cannot be folded|has no place for") as caught:
            merged.merge(folder, backbone, out)
        assert len(caught.value.message) > len(f"{name} cannot be folded into weights: ")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    else:
        found = merged.merge(folder, backbone, out)
        kind = AutoModelForSeq2SeqLM if backbone.is_encoder_decoder else AutoModelForCausalLM
        written = logits(kind.from_pretrained(out))
        assert torch.allclose(written, expected, atol=1e-4)
        assert not torch.allclose(written, plain, atol=1e-3)
        assert found.float32 < 1e-4 < found.bfloat16 < 0.1 * found.largest
        assert f"- {found.bfloat16:.1e} in bfloat16" in (out / "README.md").read_text()
    assert torch.equal(logits(backbone.model), plain)


IN_PEFT = {
    "ia3": {},
    "lora": {"rank": 3, "alpha": 7.0},
    "lora of two roles": {"roles": "q,v"},
    "adalora": {},
    "prompt_tuning": {},
    "p_tuning": {"num_virtual_tokens": 3, "hidden_size": 4},
    "prefix_tuning": {"num_virtual_tokens": 3, "position_offset": 3},
    "prefix_tuning at no position": {"num_virtual_tokens": 3},
    "bitfit": {},
    "layernorm": {},
}


def no_form(case, backbone):
    """Give the reason why peft has no such form for a model of this kind; nothing where it has."""
    windowed = getattr(backbone.model.config, "sliding_window", None) is not None
    if case == "bitfit" and backbone.sizes.norm_biases:
        return "no form for what this bitfit adapter does"
    if case == "prefix_tuning" and (backbone.is_encoder_decoder or windowed):
        return "a prefix has no positions in"
    if case != "prefix_tuning at no position":
        return ""
    reasons = {"not the encoder's": backbone.is_encoder_decoder, "out of sight": windowed}
    reasons["begins at a later position"] = getattr(backbone.model.config, "rope_parameters", None) is None
    return next((reason for reason, is_so in reasons.items() if is_so), "")


def test_each_method_that_has_a_form_in_peft_is_among_these_cases():
    assert {case.partition(" ")[0] for case in IN_PEFT} == {n for n in registry.METHODS if registry.method(n).PEFT}


# Rank by rank AdaLoRA keeps what it likes, which is no LoRA of ours, and a network is folded into a prompt of prompt
# tuning; a prefix's way back is not gone here.
ONE_WAY = ("adalora", "p_tuning", "prefix_tuning", "prefix_tuning at no position")


# Families differ in their layers, and in what becomes of positions; one of each kind gets the rest.
EVERYWHERE = ("ia3", "lora", "prefix_tuning at no position")
KINDS = ("t5", "gpt2", "llama", "bloom")
PAIRS = [(case, family) for case in IN_PEFT for family in FAMILIES if case in EVERYWHERE or family in KINDS]


@pytest.mark.parametrize(("case", "family"), PAIRS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of peft, which asks transformers
def test_peft_gives_the_log_probs_that_ours_gives_and_training_goes_on_from_the_same_values(case, family, tmp_path):
    backbone, name, out = bare(family), case.partition(" ")[0], tmp_path / "out"
    plain = copy.deepcopy(backbone.model)
    if reason := no_form(case, backbone):
        with pytest.raises(MethodError, match=reason):
            merged.to_peft(save_random(backbone, tmp_path / "a", name, IN_PEFT[case]), backbone, out)
        assert not out.exists()
        return
    folder = save_random(backbone, tmp_path / "a", name, IN_PEFT[case])
    merged.to_peft(folder, backbone, out)
    names = saved.load(folder, backbone)
    same_in_peft(backbone, plain, out)
    if case not in ONE_WAY:
        saved_values = {name: value.clone() for name, value in backbone.tensors_named(names).items()}
        backbone.detach_all()
        assert started(out, backbone) == saved.read(folder).config
        for name, value in saved_values.items():
            assert torch.equal(backbone.tensors_named([name])[name], value)


def same_in_peft(backbone, plain, folder):
    """Compare what is attached with what peft makes of a folder and the plain model."""
    prompt = encode_one(backbone, "the premise says that", ["yes it does", "no"], end="eos", separator="", label=0)
    with torch.no_grad():
        ours = choice_log_probs(backbone, [prompt])[0][0]
    theirs = peft.PeftModel.from_pretrained(plain, folder).eval()
    for found, ids, start in zip(ours, prompt.choices, prompt.starts, strict=True):
        expected = by_peft(theirs, prompt.context, ids)[start:]
        assert torch.allclose(found[: len(expected)], expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_layer_of_which_adalora_kept_nothing_is_left_out(tmp_path):
    backbone = bare("llama")
    plain = copy.deepcopy(backbone.model)
    folder = save_random(backbone, tmp_path / "a", "adalora", zero=".Lambda")
    merged.to_peft(folder, backbone, tmp_path / "out")
    saved.load(folder, backbone)
    same_in_peft(backbone, plain, tmp_path / "out")


def test_an_adalora_that_kept_nothing_has_no_form_there(tmp_path):
    backbone, config = bare("llama"), registry.method("adalora").Config()
    registry.method("adalora").attach(backbone, config)
    saved.save(tmp_path / "a", backbone, "adalora", config, registry.method("adalora").finish(backbone, config))
    backbone.detach_all()
    with pytest.raises(MethodError, match="kept no value of any layer"):
        merged.to_peft(tmp_path / "a", backbone, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def started(folder, backbone):
    """Attach what a folder of peft's holds as a starting point; give its settings."""
    start = starts.read(folder, lambda: read.describe(backbone.name))
    config = registry.method(start.method).Config(**start.settings(start.method, {}))
    starts.load(start, backbone, registry.method(start.method).attach(backbone, config))
    return config.model_dump(mode="json")


@torch.no_grad()
def by_peft(model, context, ids):
    if model.config.is_encoder_decoder:
        inputs = torch.tensor([context])
        opening = [model.config.bos_token_id] if model.config.model_type == "bart" else []
        named = {"attention_mask": torch.ones_like(inputs), "labels": torch.tensor([[*opening, *ids]])}
        logits = model(input_ids=inputs, **named).logits[:, len(opening) :]
    else:
        inputs = torch.tensor([[*context, *ids]])
        logits = model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits[:, -len(ids) - 1 : -1]
    return logits[0].log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("bottleneck", {}), ("lora", {"layer_norms": True}), ("ia3", {"places": "all"}), ("full", {})],
)
def test_what_peft_has_no_form_for_is_said_with_the_parameter_that_has_no_place(name, settings, tmp_path):
    backbone = bare("llama")
    folder = save_random(backbone, tmp_path / "a", name, settings)
    with pytest.raises(MethodError, match=f"peft has no form for what this {name} adapter does at 'model."):
        merged.to_peft(folder, backbone, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_what_does_not_compute_the_same_is_not_written(tmp_path, monkeypatch):
    backbone = bare("llama")
    folder = save_random(backbone, tmp_path / "a", "ia3")
    monkeypatch.setattr(registry.method("ia3"), "merge", lambda backbone: backbone.take_out())
    with pytest.raises(MethodError, match="was not written"):
        merged.merge(folder, backbone, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("way", [merged.merge, merged.to_peft])
def test_a_full_disk_is_said_in_a_line_and_leaves_nothing(way, tmp_path, monkeypatch):
    backbone = bare("llama")
    folder = save_random(backbone, tmp_path / "a", "ia3")

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(type(backbone.model), "save_pretrained", full)
    monkeypatch.setattr(merged.write, "save_file", full)
    with pytest.raises(MethodError, match=r"cannot write '.*out': .*No space left"):
        way(folder, backbone, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    backbone = bare("llama")
    folder = save_random(backbone, tmp_path / "a", "ia3")
    (tmp_path / "out").mkdir()
    with pytest.raises(MethodError, match="is there already"):
        merged.merge(folder, backbone, tmp_path / "out")
