"""Batches in parts, and activations that are computed again: the same gradients, and the FLOPs that were run."""

from collections import Counter
from functools import cache
from itertools import product

import pytest
import torch
from pydantic import ValidationError

from peftbench import registry
from peftbench.costs.backward import trained_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.learners import parts
from peftbench.learners.tune import TunePredictor, _add_gradients
from peftbench.methods.stages import Stages
from peftbench.scoring import frozen
from peftbench.scoring.encoding import encode
from peftbench.scoring.forward import choice_log_probs
from peftbench.scoring.frozen import FrozenLayers
from peftbench.scoring.work import TrainingWork
from peftbench.spec.cell import Training
from tests.learners.toy import RAGGED, ROWS, scoring
from tests.methods.test_contract import SMALL
from tests.tiny import ENCODERS, FAMILIES, tiny_backbone

CLOSE = 1e-6  # of the gradient's norm
CASES = [
    *product(["gpt2"], registry.METHODS),
    *product(["t5"], ("ia3", "prompt_tuning", "prefix_tuning", "top_layers", "full")),
    *product([family for family in (*FAMILIES, *ENCODERS) if family != "gpt2"], ["lora"]),
]
VARIANTS = [("prefix_tuning", {"reparameterize": True}), ("prompt_tuning", {"num_prompts": 2, "num_virtual_tokens": 3})]


loaded = cache(tiny_backbone)


@pytest.fixture
def backbone_of():
    """Give the backbone of a family, as it was loaded."""
    given = []

    def give(family):
        given.append(loaded(family))
        return given[-1]

    yield give
    for backbone in given:
        backbone.detach_all()


def attached(backbone, name, settings):
    """Attach a method with a little noise: without it LoRA's A would have no gradient."""
    method = registry.method(name)
    config = method.Config(**SMALL.get(name, {}) | settings)
    torch.manual_seed(0)
    names = method.attach(backbone, config)
    backbone.train_only(names)
    stages = Stages(method, backbone, config, names)
    batch = encode(backbone, [RAGGED.render(row) for row in ROWS[:5]], scoring(backbone))
    stages.prepare([[example] for example in batch], lambda some: -choice_log_probs(backbone, some)[0].sum())
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return stages, batch


def gradients(stages, batch, training):
    """Run a batch forward and backward as a step of training does; its gradients, losses and work."""
    backbone = stages.backbone
    predictor = TunePredictor(backbone, scoring(backbone), list(stages.names), len(batch), 0, work=TrainingWork())
    lower = FrozenLayers(backbone, frozen.layers(backbone, frozen.first_adapted(backbone)))
    backbone.model.zero_grad(set_to_none=True)
    backbone.model.train()
    torch.manual_seed(1)  # of the gates of diff pruning
    with parts.checkpointed(backbone, training.activation_checkpointing):
        values = _add_gradients(predictor, batch, training, stages, lower)
    backbone.model.eval()
    found = [parameter.grad for parameter in backbone.parameters_named(stages.names).values()]
    return [grad for grad in found if grad is not None], values, predictor.work


def assert_close(found, expected):
    difference = torch.stack([(one - other).norm() for one, other in zip(found, expected, strict=True)]).norm()
    assert difference <= CLOSE * torch.stack([other.norm() for other in expected]).norm()


@pytest.mark.parametrize(("family", "name"), CASES)
def test_activations_that_are_computed_again_give_the_same_gradients(family, name, backbone_of):
    assert_the_same_when_computed_again(backbone_of(family), name, {})


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("family", ["t5", "gpt2"])
def test_and_so_with_networks_and_ensembles(family, name, settings, backbone_of):
    assert_the_same_when_computed_again(backbone_of(family), name, settings)


def assert_the_same_when_computed_again(backbone, name, settings):
    stages, batch = attached(backbone, name, settings)
    found, trainings = [], (Training(batch_size=5), Training(batch_size=5, activation_checkpointing=True))
    traced = [
        kernel_flops(lambda training=training: found.append(gradients(stages, batch, training)))
        for training in trainings
    ]
    (expected, losses, _), (again, values, work) = found
    assert values == losses
    assert_close(again, expected)
    added = stages.method.added(backbone.sizes, stages.config)
    first = frozen.num_layers(frozen.layers(backbone, added.first_layer))
    for is_checkpointed, flops in zip((False, True), traced, strict=True):
        counted = trained_flops(
            backbone.sizes, work.passes, added, Counter(work.frozen), first, is_checkpointed=is_checkpointed
        )
        assert counted == flops


@pytest.mark.parametrize(("form", "number"), [("paper", 2), ("t-few", 5)])
@pytest.mark.parametrize(("family", "name"), [("t5", "lora"), ("gpt2", "diff_pruning"), ("llama", "prompt_tuning")])
def test_the_parts_of_a_batch_add_up_to_it(family, name, number, form, backbone_of):
    settings = {"num_prompts": 2, "num_virtual_tokens": 3} if name == "prompt_tuning" else {}
    stages, batch = attached(backbone_of(family), name, settings)
    expected, losses, whole = gradients(stages, batch, Training(batch_size=5, loss_form=form))
    training = Training(batch_size=5, accumulate=number, activation_checkpointing=number == 2, loss_form=form)
    found, values, work = gradients(stages, batch, training)
    if name != "diff_pruning":  # its gates are drawn anew in each part
        assert_close(found, expected)
        if form == "paper":  # T-Few's unlikelihood has a constant for each place of the padding
            assert values == pytest.approx(losses, rel=1e-5)
    assert work.passes.total() == number
    assert (work.num_steps, work.lengths) == (1, whole.lengths)


def test_a_batch_is_cut_into_parts_of_nearly_one_size():
    assert [list(part) for part in parts.cut(range(5), 2)] == [[0, 1, 2], [3, 4]]
    assert [len(part) for part in parts.cut(range(8), 8)] == [1] * 8


def test_more_parts_than_examples_are_refused_and_what_is_off_is_in_no_identity():
    with pytest.raises(ValidationError, match="accumulate = 9 parts of a batch of 8"):
        Training(accumulate=9)
    assert not {"accumulate", "activation_checkpointing"} & Training().model_dump().keys()
    on = Training(accumulate=2, activation_checkpointing=True).model_dump()
    assert (on["accumulate"], on["activation_checkpointing"]) == (2, True)


def test_dropout_draws_the_same_when_computed_again():
    backbone = tiny_backbone("t5")
    for module in backbone.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.3
    stages, batch = attached(backbone, "ia3", {})
    expected, losses, _ = gradients(stages, batch, Training(batch_size=5))
    again, values, _ = gradients(stages, batch, Training(batch_size=5, activation_checkpointing=True))
    assert values == losses
    assert_close(again, expected)


def test_nothing_of_it_stays_when_training_has_ended():
    backbone = tiny_backbone("gpt2")
    with parts.checkpointed(backbone, True):
        assert any(getattr(module, "gradient_checkpointing", False) for module in backbone.model.modules())
        backbone.model.train()
        assert not backbone.embeddings(torch.tensor([[1]])).requires_grad
    assert not any(getattr(module, "gradient_checkpointing", False) for module in backbone.model.modules())
