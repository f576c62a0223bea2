"""What leaves as a plain checkpoint: transformers' logits against those of the adapter on its backbone."""

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from peftbench import registry
from peftbench.adapters import merged, saved
from peftbench.adapters.peft import write
from peftbench.errors import MethodError
from tests.adapters.random_adapters import bare, save_random
from tests.tiny import ENCODERS, FAMILIES

IDS = torch.tensor([[5, 9, 20, 31, 7, 40, 12], [8, 8, 30, 2, 6, 19, 33]])
# Added where the model has no bias: a plain checkpoint has no place for it.
NO_PLACE = {("bitfit", "t5")}
# That folding is right on every family is the contract's; here it is writing and reading that counts.
CASES = [*((name, "gpt2") for name in registry.METHODS), ("lora", "t5"), *NO_PLACE]
CASES += [("ia3", family) for family in FAMILIES if family != "gpt2"]
CASES += [("lora", family) for family in ENCODERS]


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
        kinds = {"encoder-decoder": AutoModelForSeq2SeqLM, "encoder-only": AutoModelForMaskedLM}
        kind = kinds.get(backbone.sizes.kind, AutoModelForCausalLM)
        written = logits(kind.from_pretrained(out))
        assert torch.allclose(written, expected, atol=1e-4)
        assert not torch.allclose(written, plain, atol=1e-3)
        assert found.float32 < 1e-4 < found.bfloat16 < 0.1 * found.largest
        assert f"- {found.bfloat16:.1e} in bfloat16" in (out / "README.md").read_text()
    assert torch.equal(logits(backbone.model), plain)


def test_what_does_not_compute_the_same_is_not_written(tmp_path, monkeypatch):
    backbone = bare("llama")
    folder = save_random(backbone, tmp_path / "a", "ia3")
    monkeypatch.setattr(registry.method("ia3"), "merge", lambda backbone: backbone.take_out())
    with pytest.raises(MethodError, match="was not written"):
        merged.merge(folder, backbone, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("export", [merged.merge, write.export])
def test_a_full_disk_is_said_in_a_line_and_leaves_nothing(export, tmp_path, monkeypatch):
    backbone = bare("llama")
    folder = save_random(backbone, tmp_path / "a", "ia3")

    def full(*_, **__):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(type(backbone.model), "save_pretrained", full)
    monkeypatch.setattr(write, "save_file", full)
    with pytest.raises(MethodError, match=r"cannot write '.*out': .*No space left"):
        export(folder, backbone, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    backbone = bare("llama")
    folder = save_random(backbone, tmp_path / "a", "ia3")
    (tmp_path / "out").mkdir()
    with pytest.raises(MethodError, match="is there already"):
        merged.merge(folder, backbone, tmp_path / "out")
