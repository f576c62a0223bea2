"""What leaves, in plain transformers and in peft, against the adapter on its backbone."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.methods import adapter, export
from peftbench.models.encoding import encode
from peftbench.models.forward import choice_log_probs
from tests.tiny import tiny_backbone

IDS = torch.tensor([[5, 9, 20, 31, 7, 40, 12], [8, 8, 30, 2, 6, 19, 33]])
# Added where the model has no bias: a plain checkpoint has no place for it.
NO_PLACE = {("bitfit", "t5")}
# That folding is right on every family is the contract's; here it is writing and reading that counts.
CASES = [*((name, "gpt2") for name in registry.METHODS), ("ia3", "t5"), ("lora", "t5"), ("ia3", "llama"), *NO_PLACE]


def saved(backbone, folder, name, settings=None):
    """Save an adapter with random values."""
    method = registry.method(name)
    config = method.Config(**(settings or {}))
    torch.manual_seed(0)
    names = method.attach(backbone, config)
    backbone.train_only(names)
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(0.05 * torch.randn_like(parameter))
    finish = getattr(method, "finish", None)
    adapter.save(folder, backbone, name, config, finish(backbone, config) if finish else names)
    backbone.detach_all()
    return folder


@torch.no_grad()
def logits(model):
    return model(input_ids=IDS, **({"decoder_input_ids": IDS[:, :4]} if model.config.is_encoder_decoder else {})).logits


@pytest.mark.parametrize(("name", "family"), CASES)
def test_a_folded_adapter_is_a_plain_checkpoint_with_the_same_logits_or_says_why_it_cannot_be(name, family, tmp_path):
    backbone, out = tiny_backbone(family), tmp_path / "out"
    folder = saved(backbone, tmp_path / "a", name)
    plain = logits(backbone.model)
    adapter.load(folder, backbone)
    expected = logits(backbone.model)
    backbone.detach_all()
    if registry.method(name).merge is None or (name, family) in NO_PLACE:
        with pytest.raises(MethodError, match=r"cannot be folded|has no place for") as caught:
            export.merge(folder, backbone, out)
        assert len(caught.value.message) > len(f"{name} cannot be folded into weights: ")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    else:
        found = export.merge(folder, backbone, out)
        kind = AutoModelForSeq2SeqLM if backbone.is_encoder_decoder else AutoModelForCausalLM
        written = logits(kind.from_pretrained(out))
        assert torch.allclose(written, expected, atol=1e-4)
        assert not torch.allclose(written, plain, atol=1e-3)
        assert found.float32 < 1e-4 < found.bfloat16 < 0.1 * found.largest
    assert torch.equal(logits(backbone.model), plain)


IN_PEFT = [("ia3", {}), ("lora", {"rank": 3}), ("lora", {"roles": "q,v"}), ("adalora", {}), ("prompt_tuning", {})]


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama"])
@pytest.mark.parametrize(("name", "settings"), IN_PEFT)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")  # of peft, which asks transformers
def test_peft_gives_the_log_probs_that_ours_gives(name, settings, family, tmp_path):
    backbone = tiny_backbone(family)
    folder = saved(backbone, tmp_path / "a", name, settings)
    export.to_peft(folder, backbone, tmp_path / "out")
    adapter.load(folder, backbone)
    prompt = encode(backbone, "the premise says that", ["yes it does", "no"], end="eos", separator="", label=0)
    with torch.no_grad():
        ours = choice_log_probs(backbone, [prompt])[0][0]
    theirs = peft.PeftModel.from_pretrained(tiny_backbone(family).model, tmp_path / "out").eval()
    for found, ids, start in zip(ours, prompt.choices, prompt.starts, strict=True):
        expected = by_peft(theirs, prompt.context, ids)[start:]
        assert torch.allclose(found[: len(expected)], expected, atol=1e-5)


@torch.no_grad()
def by_peft(model, context, ids):
    if model.config.is_encoder_decoder:
        inputs = torch.tensor([context])
        logits = model(input_ids=inputs, attention_mask=torch.ones_like(inputs), labels=torch.tensor([ids])).logits
    else:
        inputs = torch.tensor([[*context, *ids]])
        logits = model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).logits[:, -len(ids) - 1 : -1]
    return logits[0].log_softmax(-1)[torch.arange(len(ids)), torch.tensor(ids)]


@pytest.mark.parametrize(
    ("name", "settings"), [("bitfit", {}), ("lora", {"layer_norms": True}), ("ia3", {"places": "all"}), ("full", {})]
)
def test_what_peft_has_no_form_for_is_said_with_the_parameter_that_has_no_place(name, settings, tmp_path):
    backbone = tiny_backbone("llama")
    folder = saved(backbone, tmp_path / "a", name, settings)
    with pytest.raises(MethodError, match=f"peft has no form for what this {name} adapter does at 'model."):
        export.to_peft(folder, backbone, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_what_does_not_compute_the_same_is_not_written(tmp_path, monkeypatch):
    backbone = tiny_backbone("llama")
    folder = saved(backbone, tmp_path / "a", "ia3")
    monkeypatch.setattr(registry.method("ia3"), "merge", lambda backbone: backbone.take_out())
    with pytest.raises(MethodError, match="was not written"):
        export.merge(folder, backbone, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    backbone = tiny_backbone("llama")
    folder = saved(backbone, tmp_path / "a", "ia3")
    (tmp_path / "out").mkdir()
    with pytest.raises(MethodError, match="is there already"):
        export.merge(folder, backbone, tmp_path / "out")
