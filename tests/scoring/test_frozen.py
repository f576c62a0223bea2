"""Frozen layers: losses and gradients as without, what is run once, and where nothing is."""

import json

import pytest
import torch

from peftbench import registry
from peftbench.learners import tune
from peftbench.learners.tune import _losses
from peftbench.models.load import load
from peftbench.scoring import frozen
from peftbench.scoring.frozen import FrozenLayers
from peftbench.scoring.passes import Prompt
from peftbench.spec.cell import Training
from tests.learners.toy import RAGGED, ROWS, TEMPLATE, scoring
from tests.scoring.prompts import encode_one
from tests.tiny import FAMILIES, tiny_backbone, tiny_folder

UPPER = [("top_layers", {}), ("bottleneck", {"drop_layers": 1})]
TEXTS = [
    ("the premise says that the hypothesis does follow", ["yes it does", "yes it is not", "maybe"]),
    ("is the answer positive or negative?", ["positive", "negative"]),
    ("question: true or false and yes or no", ["true as it stands", "true"]),
    ("no", ["no", "maybe not"]),
]


def attached(family, name, settings):
    backbone, method = tiny_backbone(family), registry.method(name)
    torch.manual_seed(0)
    backbone.train_only(method.attach(backbone, method.Config(**settings)))
    return backbone


def frozen_layers(backbone):
    return frozen.layers(backbone, frozen.first_adapted(backbone))


def examples(backbone):
    end = {"end": "eos" if backbone.is_encoder_decoder else "none", "separator": "\n"}
    return [encode_one(backbone, text, choices, label=1, **end) for text, choices in TEXTS]


def step(backbone, batch):
    """The losses of a training step, and the gradients of what is trained."""
    losses = _losses(backbone, batch, Training())
    trained = [parameter for parameter in backbone.model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(losses["loss"], trained, allow_unused=True)
    return torch.stack(list(losses.values())), gradients


@pytest.mark.parametrize(("name", "settings"), UPPER, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_those_of_the_whole_model(family, name, settings):
    backbone = attached(family, name, settings)
    layers, batch = FrozenLayers(backbone, frozen_layers(backbone)), examples(backbone)
    backbone.model.train()
    for indices, new in (([2, 0, 3], [2, 0, 3]), ([0, 1, 1], [1]), ([3, 1, 0, 2], [])):
        part = [batch[index] for index in indices]
        with layers.skipped(part) as run:
            values = step(backbone, part)
        assert run == [batch[index] for index in new]
        torch.testing.assert_close(values, step(backbone, part), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_training_is_that_of_the_whole_model(family, monkeypatch):
    training = Training(num_steps=8, batch_size=4, lr=0.05, scale_parameter=False)
    shots = [[template.render(row) for template in (TEMPLATE, RAGGED)] for row in ROWS[:3]]

    def learn():
        backbone = tiny_backbone(family)
        tuning = tune.Tuning("top_layers", registry.method("top_layers").Config(), training, shots)
        return tune.learn(tuning, backbone, scoring(backbone))

    begun = learn()
    monkeypatch.setattr(frozen, "layers", lambda *_: [])
    whole = learn()
    assert (begun.work.num_frozen, whole.work.num_frozen) == ((0, 1) if family == "llama" else (2, 1), (0, 0))
    assert [values["loss"] for values in begun.log] == pytest.approx([values["loss"] for values in whole.log], abs=1e-4)
    assert 0 < sum(begun.work.frozen.values()) < begun.work.num_steps
    assert not whole.work.frozen


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_states_that_there_is_no_room_for_are_computed_each_time(family, monkeypatch):
    backbone = attached(family, "top_layers", {})
    batch, lower = examples(backbone), frozen_layers(backbone)
    sizes = [frozen.num_bytes(backbone, lower, Prompt.of(encoded)) for encoded in batch]
    monkeypatch.setattr(frozen, "MOST_BYTES", sizes[0] + sizes[3])
    layers, expected = FrozenLayers(backbone, lower), step(backbone, batch)
    for new in (batch, batch[1:3], batch[1:3]):
        with layers.skipped(batch) as run:
            values = step(backbone, batch)
        assert run == new
        torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-5)
    tensors = [tensor for states in layers._states.values() for tensor in states]
    assert sum(tensor.untyped_storage().nbytes() for tensor in tensors) == sizes[0] + sizes[3]


def test_nothing_is_frozen_where_the_method_acts_from_the_lowest_layer_on():
    for name in registry.METHODS:
        backbone = attached("gpt2", name, {"intrinsic_dimension": 40} if name.startswith("intrinsic") else {})
        assert frozen_layers(backbone) == backbone.layers()[: name == "top_layers"]


@pytest.mark.parametrize(
    ("family", "field"),
    [
        ("t5", "dropout_rate"),
        ("gpt2", "embd_pdrop"),  # before the layers
        ("gpt2", "attn_pdrop"),
        ("llama", "attention_dropout"),
        ("bloom", "hidden_dropout"),
        ("opt", "layerdrop"),  # of the stack, which leaves whole layers out
        ("bart", "activation_dropout"),
        ("bart", "encoder_layerdrop"),
    ],
)
def test_nothing_is_frozen_where_dropout_draws(family, field, tmp_path):
    path = tiny_folder(family, tmp_path / family)
    config = json.loads((path / "config.json").read_text())
    assert config[field] == 0
    (path / "config.json").write_text(json.dumps(config | {field: 0.5}))
    backbone, method = load(str(path), device="cpu"), registry.method("top_layers")
    backbone.train_only(method.attach(backbone, method.Config()))
    backbone.model.train()
    before = torch.random.get_rng_state()
    with torch.no_grad():
        _losses(backbone, examples(backbone), Training())
    assert not torch.equal(torch.random.get_rng_state(), before)
    assert frozen_layers(backbone) == []


def test_a_hook_of_anybody_on_a_layer_or_before_them_freezes_nothing_from_there_on():
    backbone = attached("t5", "top_layers", {})
    assert len(frozen_layers(backbone)) == 3
    backbone.model.encoder.block[1].layer[0].SelfAttention.q.register_forward_hook(lambda *_: None)
    assert [layer.module for layer in frozen_layers(backbone)] == ["encoder.block.0"]
    backbone.model.get_encoder().register_forward_pre_hook(lambda *_: None)
    assert frozen_layers(backbone) == []


def test_a_method_of_the_peft_library_in_the_upper_layers_leaves_those_below():
    pytest.importorskip("peft")
    backbone = attached("llama", "peft:LORA", {"target_modules": "q_proj,v_proj", "layers_to_transform": [1]})
    layers, batch = FrozenLayers(backbone, frozen_layers(backbone)), examples(backbone)
    with layers.skipped(batch) as run:
        values = step(backbone, batch)
    assert run == batch
    torch.testing.assert_close(values, step(backbone, batch), atol=1e-5, rtol=1e-5)
