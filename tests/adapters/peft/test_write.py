"""What leaves for peft: peft's log-probs against those of the adapter on its backbone."""

import copy

import peft
import pytest
import torch

from peftbench import registry
from peftbench.adapters import saved, starts
from peftbench.adapters.peft import read, write
from peftbench.errors import MethodError
from peftbench.scoring.forward import choice_log_probs
from tests.adapters.random_adapters import bare, by_peft, save_random
from tests.scoring.prompts import encode_one
from tests.tiny import FAMILIES

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
            write.export(save_random(backbone, tmp_path / "a", name, IN_PEFT[case]), backbone, out)
        assert not out.exists()
        return
    folder = save_random(backbone, tmp_path / "a", name, IN_PEFT[case])
    write.export(folder, backbone, out)
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
    write.export(folder, backbone, tmp_path / "out")
    saved.load(folder, backbone)
    same_in_peft(backbone, plain, tmp_path / "out")


def test_an_adalora_that_kept_nothing_has_no_form_there(tmp_path):
    backbone, config = bare("llama"), registry.method("adalora").Config()
    registry.method("adalora").attach(backbone, config)
    saved.save(tmp_path / "a", backbone, "adalora", config, registry.method("adalora").finish(backbone, config))
    backbone.detach_all()
    with pytest.raises(MethodError, match="kept no value of any layer"):
        write.export(tmp_path / "a", backbone, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def started(folder, backbone):
    """Attach what a folder of peft's holds as a starting point; give its settings."""
    start = starts.read(folder, lambda: read.describe(backbone.name))
    config = registry.method(start.method).Config(**start.settings(start.method, {}))
    starts.load(start, backbone, registry.method(start.method).attach(backbone, config))
    return config.model_dump(mode="json")


@pytest.mark.parametrize(
    ("name", "settings"),
    [("bottleneck", {}), ("lora", {"layer_norms": True}), ("ia3", {"places": "all"}), ("full", {})],
)
def test_what_peft_has_no_form_for_is_said_with_the_parameter_that_has_no_place(name, settings, tmp_path):
    backbone = bare("llama")
    folder = save_random(backbone, tmp_path / "a", name, settings)
    with pytest.raises(MethodError, match=f"peft has no form for what this {name} adapter does at 'model."):
        write.export(folder, backbone, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("name", ["lora", "prompt_tuning"])
def test_adapters_of_encoders_are_not_written(name, tmp_path):
    backbone = bare("bert")
    folder = save_random(backbone, tmp_path / "a", name)
    with pytest.raises(MethodError, match="encoder-only model, of which no adapter is written in peft's layout"):
        write.export(folder, backbone, tmp_path / "out")
    assert not (tmp_path / "out").exists()
