import torch

from peftbench.methods import full
from tests.tiny import tiny_backbone


def test_tied_weights_are_named_once():
    backbone = tiny_backbone("t5-v1.0")
    assert backbone.model.lm_head.weight is backbone.embeddings.weight
    names = full.attach(backbone, full.Config())
    assert "shared.weight" in names
    assert "lm_head.weight" not in names


def test_detaching_puts_the_loaded_weights_back():
    backbone, fresh = tiny_backbone("gpt2"), tiny_backbone("gpt2")
    names = full.attach(backbone, full.Config())
    backbone.train_only(names)
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(1.0)
    backbone.detach_all()
    assert all(torch.equal(value, fresh.model.get_parameter(name)) for name, value in backbone.model.named_parameters())
