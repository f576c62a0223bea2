import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from peftbench.adapters import starts, t_few
from peftbench.cli.app import main
from peftbench.errors import MethodError
from peftbench.methods import ia3
from peftbench.store.results import Store
from tests import real
from tests.methods.published import t0_3b_without_weights
from tests.tiny import tiny_backbone, tiny_folder

BLOCKS = {
    "encoder": {"0.SelfAttention": "kv", "1.DenseReluDense": ["wi_1"]},
    "decoder": {"0.SelfAttention": "kv", "1.EncDecAttention": "kv", "2.DenseReluDense": ["wi_1"]},
}


def vectors(num_blocks, d_attn, d_ff):
    """Make vectors by the authors' names: two for each attention, one for each feed-forward block."""
    return {
        f"{stack}.block.{block}.layer.{layer}.{linear}.multi_lora_b": torch.rand(
            d_ff if linear == "wi_1" else d_attn, 1
        )
        for stack, layers in BLOCKS.items()
        for block in range(num_blocks)
        for layer, linears in layers.items()
        for linear in linears
    }


@pytest.fixture
def checkpoint(tmp_path):
    """A tiny one in the authors' layout."""
    torch.save(vectors(2, d_attn=24, d_ff=40), tmp_path / "finish.pt")
    return tmp_path / "finish.pt"


def test_the_authors_vectors_scale_the_outputs_that_they_are_named_after(checkpoint):
    ours, plain = tiny_backbone("t5"), tiny_backbone("t5").model
    starts.load(starts.read(checkpoint), ours, ia3.attach(ours, ia3.Config()))
    for key, vector in torch.load(checkpoint, weights_only=True).items():
        plain.get_submodule(key.removesuffix(".multi_lora_b")).weight.data.mul_(vector)
    inputs = {"input_ids": torch.arange(3, 33).view(2, 15), "decoder_input_ids": torch.arange(40, 52).view(2, 6)}
    with torch.no_grad():
        torch.testing.assert_close(ours.model(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no pickle", b"text,label\nthe soup was warm,good\n", None])
def test_a_file_of_another_layout_is_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    if content is None:
        torch.save({"weight": torch.ones(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(MethodError, match=r"other\.pt"):
        t_few.read(path)


def test_a_checkpoint_of_a_larger_model_is_refused(checkpoint):
    backbone = tiny_backbone("gpt2")
    with pytest.raises(MethodError, match="no starting point for ia3"):
        starts.load(starts.read(checkpoint), backbone, ia3.attach(backbone, ia3.Config()))


def test_it_is_of_the_method_ia3_at_the_papers_places(checkpoint):
    start = starts.read(checkpoint)
    assert start.settings("ia3", {}) == {"places": "paper"}
    with pytest.raises(MethodError, match="has places = paper"):
        start.settings("ia3", {"places": "all"})


# -- T0-3B, and from end to end ----------------------------------------------------------------------------------------

NUM_OF_T0_3B = 540_672
"""(IA)^3's parameters on T0-3B, in 192 vectors: 24 blocks of 3 in the encoder, 24 of 5 in the decoder."""


def started_on_t0_3b(path):
    """Start (IA)^3 on T0-3B's shapes from a checkpoint; the numbers that it fills."""
    backbone = t0_3b_without_weights()
    with backbone.device:
        names = ia3.attach(backbone, ia3.Config())
    starts.load(starts.read(path), backbone, names)
    return sum(parameter.numel() for parameter in backbone.parameters_named(names).values())


def test_a_checkpoint_of_t0_3bs_layout_fills_all_that_ia3_adds_to_it(tmp_path):
    table = vectors(24, d_attn=2048, d_ff=5120)
    torch.save(table, tmp_path / "finish.pt")
    assert len(table) == 192
    assert started_on_t0_3b(tmp_path / "finish.pt") == sum(value.numel() for value in table.values()) == NUM_OF_T0_3B


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda table: table.popitem(), "is missing there and [5120] here"),
        (lambda table: table.update({key: value[1:] for key, value in list(table.items())[:1]}), "is [2047] there"),
        (lambda table: table.update(vectors(25, 2048, 5120)), "there and missing here"),
    ],
)
def test_a_checkpoint_that_is_not_quite_t0_3bs_is_refused(tmp_path, change, fault):
    table = vectors(24, d_attn=2048, d_ff=5120)
    change(table)
    torch.save(table, tmp_path / "finish.pt")
    with pytest.raises(MethodError) as caught:
        started_on_t0_3b(tmp_path / "finish.pt")
    assert fault in caught.value.message


@pytest.mark.real_data
def test_the_checkpoint_that_the_authors_published_starts_t0_3b():
    path = real.data() / "t03b_ia3_finish.pt"
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith("431451f1")
    assert started_on_t0_3b(path) == NUM_OF_T0_3B
    values = torch.cat(list(t_few.read(path).values()))
    assert (values.mean().item(), values.std().item()) == pytest.approx((0.9953, 0.0929), abs=1e-3)


def test_tuning_that_starts_from_a_checkpoint_scores_as_the_model_with_its_vectors_in_its_weights(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folders = {name: tiny_folder("t5", tmp_path / name) for name in ("plain", "scaled")}
    weights = load_file(folders["scaled"] / "model.safetensors")
    for key, vector in torch.load(checkpoint, weights_only=True).items():
        weights[key.removesuffix("multi_lora_b") + "weight"] *= vector
    save_file(weights, folders["scaled"] / "model.safetensors", metadata={"format": "pt"})
    rows = [{"text": text, "label": label} for text, label in (("yes no", "true"), ("maybe", "false")) * 2]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = ["--train", "rows.jsonl", "--test", "rows.jsonl", "--template", "{{text}} ||| {{label}}"]
    words = [*own, "--choices", "true,false", "--quiet"]
    tune = ["tune", "--method", "ia3", "--start-from", "finish.pt", "--shots", "2", "--set", "num_steps=0"]
    assert main([*tune, "--model", "plain", "--results", "tuned", *words]) == 0
    assert main(["icl", "--shots", "0", "--model", "scaled", "--results", "expected", *words]) == 0
    tuned, expected = Store(tmp_path / "tuned"), Store(tmp_path / "expected")
    (record,) = [record for record in tuned.all() if record.learned.method == "ia3"]
    (zero_shot,) = [record for record in tuned.all() if record.learned.method is None]
    (merged,) = expected.all()
    assert record.learned.start_from.sha256 == starts.read(checkpoint).sha256
    log_probs = [list(store.read_scores(made.id).log_prob) for store, made in ((tuned, record), (expected, merged))]
    assert log_probs[0] == pytest.approx(log_probs[1], abs=1e-4)
    assert log_probs[0] != pytest.approx(list(tuned.read_scores(zero_shot.id).log_prob), abs=1e-2)
