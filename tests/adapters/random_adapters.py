"""Adapters with random values, and what transformers and peft make of them."""

from functools import cache

import torch

from peftbench import registry
from peftbench.adapters import saved
from peftbench.methods.stages import Stages
from tests.tiny import tiny_backbone

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
