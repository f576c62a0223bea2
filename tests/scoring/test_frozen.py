"""Frozen layers: losses and gradients as without, what is run once, and where nothing is."""

import pytest
import torch

from peftbench import registry
from peftbench.learners.tune import _losses
from peftbench.scoring import frozen
from peftbench.scoring.frozen import FrozenLayers
from peftbench.spec.cell import Training
from tests.scoring.prompts import encode_one
from tests.tiny import FAMILIES, tiny_backbone

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
