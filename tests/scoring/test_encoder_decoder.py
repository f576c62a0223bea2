"""Rows that the examples of a batch share: values and gradients of a row for each, for all families and methods."""

import pytest
import torch

from peftbench import registry
from peftbench.scoring import forward, packing
from peftbench.scoring.encoding import encode, num_virtual_tokens
from peftbench.scoring.passes import Prompt, Shapes
from peftbench.spec.cell import Scoring
from tests.scoring.prompts import example
from tests.tiny import ENCODER_DECODERS, tiny_backbone

ALIKE = ("yes no maybe", "yes no", "yes true", "no")
INPUTS = [("the premise says that", ALIKE), ("no", ("no", "no yes")), ("does follow the question", ALIKE[:3])]


@pytest.fixture(autouse=True)
def _long_rows(monkeypatch):
    """Make attention cheap, so that examples of tiny models share rows as those of large ones do."""
    monkeypatch.setattr(packing, "ATTENTION_WEIGHT", 0.0)


def batch_of(backbone):
    """Encode inputs of uneven lengths, of whose choices some begin alike, for each member of an ensemble."""
    encoded = encode(backbone, [example(*pair) for pair in INPUTS], Scoring(end="eos", separator="\n\n"))
    return forward.of_members(backbone, encoded)


def attached(family, method, **config):
    backbone, module = tiny_backbone(family), registry.method(method)
    torch.manual_seed(0)
    names = module.attach(backbone, module.Config(**config))
    backbone.train_only(names)
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return backbone, names


def run(backbone, names, **options):
    """Return log-probabilities, and all gradients of an uneven sum of them as one vector."""
    log_probs, mask = forward.choice_log_probs(backbone, batch_of(backbone), **options)
    weights = torch.sin(torch.arange(log_probs.numel()).float()).view(log_probs.shape)
    (log_probs * weights).sum().backward()
    parameters = backbone.parameters_named(names).values()
    gradient = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
    for parameter in parameters:
        parameter.grad = None
    return log_probs.detach(), mask, gradient / gradient.abs().max()


def shapes_run(backbone, run):
    """Return (rows, tokens) of the encoder and of the decoder."""
    seen = []
    for stack in (backbone.model.get_encoder(), backbone.model.get_decoder()):
        norm = next(module for name, module in stack.named_modules() if "final_layer_norm" in name)
        norm.register_forward_hook(lambda _module, args, _output: seen.append(tuple(args[0].shape[:2])))
    run()
    return seen


def assert_equal(backbone, names):
    """Compare with a row for each example, and with a row for each choice of each example."""
    packed = run(backbone, names)
    for options in ({"is_packed": False}, {"is_shared": False}):
        for found, expected in zip(packed, run(backbone, names, **options), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", registry.METHODS)
@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_each_method_has_the_values_and_gradients_of_a_row_for_each_example_and_choice(family, method):
    assert_equal(*attached(family, method))


@pytest.mark.parametrize("family", ENCODER_DECODERS)
def test_members_of_an_ensemble_share_rows_each_with_its_own_soft_prompt(family):
    assert_equal(*attached(family, "prompt_tuning", num_virtual_tokens=3, num_prompts=2))


@pytest.mark.parametrize("num_virtual", [0, 30])
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_shape_is_known_before_and_rows_may_be_longer_than_the_positions(family, num_virtual):
    backbone = tiny_backbone(family)
    if num_virtual:
        backbone, _ = attached(family, "prompt_tuning", num_virtual_tokens=num_virtual)
    batch = batch_of(backbone) * 5
    if family == "bart" and num_virtual:
        assert sum(num_virtual + len(encoded.context) for encoded in batch) > backbone.max_positions
    seen = shapes_run(backbone, lambda: forward.choice_log_probs(backbone, batch))
    shape = Shapes(backbone.sizes, num_virtual_tokens(backbone)).training([Prompt.of(encoded) for encoded in batch])
    assert seen == [(shape.encoder_rows, shape.encoder_tokens), (shape.decoder_rows, shape.decoder_tokens)]
    assert shape.encoder_rows == shape.decoder_rows < len(batch)
