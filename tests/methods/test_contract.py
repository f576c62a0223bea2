"""What every method promises, over the registry and all families: to register a method is to put it under test."""

import re
from functools import cache
from itertools import product

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.methods import adapter
from peftbench.models.encoding import encode
from peftbench.models.forward import choice_log_probs
from tests.tiny import FAMILIES, tiny_backbone

PROMPTS = [
    ("the premise says that the hypothesis does follow", ["yes it does follow", "no it does not"]),
    ("is the answer positive or negative?", ["it is positive", "it is negative", "maybe it is not"]),
    ("question: true or false", ["true as it stands", "false as it stands"]),
]
CASES = list(product(FAMILIES, registry.METHODS))
over_all = pytest.mark.parametrize(("family", "name"), CASES, ids=["-".join(case) for case in CASES])


loaded = cache(tiny_backbone)  # loading costs more than most of these tests


@cache
def untouched(family):
    return log_probs(tiny_backbone(family))


def bare(family):
    loaded(family).detach_all()
    return loaded(family)


def attached(family, name):
    torch.manual_seed(0)
    backbone, method = bare(family), registry.method(name)
    names = method.attach(backbone, method.Config())
    return backbone, method, names


def shaken(family, name):
    backbone, method, names = attached(family, name)
    backbone.train_only(names)
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return backbone, method, names


def batch(backbone):
    return [encode(backbone, text, choices, end="eos", separator="\n\n") for text, choices in PROMPTS]


def log_probs(backbone):
    with torch.no_grad():
        return choice_log_probs(backbone, batch(backbone))[0]


def loss(backbone):
    """Cross-entropy of the first choice against the others, and of all tokens: no parameter is left out by symmetry."""
    values, mask = choice_log_probs(backbone, batch(backbone))
    per_choice = values.sum(-1)
    return -(per_choice[:, 0] - per_choice[:, 1:].logsumexp(-1)).mean() - 0.1 * values[mask].mean()


@over_all
def test_an_untrained_method_leaves_the_model_as_it_was_exactly_if_it_says_so(family, name):
    backbone, method, _ = attached(family, name)
    assert torch.equal(log_probs(backbone), untouched(family)) == method.IDENTITY_AT_INIT


@over_all
def test_every_parameter_gets_a_gradient_or_is_declared_dead(family, name):
    backbone, method, names = shaken(family, name)
    loss(backbone).backward()
    for full_name, parameter in backbone.parameters_named(names).items():
        is_dead = any(re.search(pattern, full_name) for pattern in method.DEAD)
        assert (parameter.grad is None or not parameter.grad.any()) == is_dead, full_name


@over_all
def test_a_step_lowers_the_loss_and_changes_nothing_that_was_not_returned(family, name):
    backbone, _, names = shaken(family, name)
    others = {n: p.detach().clone() for n, p in backbone.model.named_parameters() if n not in names}
    before = loss(backbone)
    before.backward()
    parameters = backbone.parameters_named(names).values()
    size = torch.stack([parameter.grad.square().sum() for parameter in parameters]).sum().sqrt()
    torch.optim.SGD([p for p in backbone.model.parameters() if p.requires_grad], lr=1e-3 / float(size)).step()
    assert loss(backbone) < before
    assert all(torch.equal(backbone.model.get_parameter(n), value) for n, value in others.items())


@over_all
def test_what_is_returned_is_all_that_came_in_or_the_models_own(family, name):
    base = {n for n, _ in bare(family).model.named_parameters()}
    backbone, _, names = attached(family, name)
    inside = {n for n, _ in backbone.model.named_parameters()}
    assert len(set(names)) == len(names)
    assert set(names) in (inside - base, base)


@over_all
def test_the_declared_sizes_are_what_is_there(family, name):
    backbone, method, names = attached(family, name)
    added = method.added(backbone.sizes, method.Config())
    count = sum(parameter.numel() for parameter in backbone.parameters_named(names).values())
    assert count == (backbone.num_parameters if added.num_parameters is None else added.num_parameters)
    soft = backbone.soft_prompt
    assert added.extra_tokens == (0 if soft is None else len(soft()))
    blocks = [backbone.model.get_submodule(block.module) for block in backbone.attentions()]
    assert {added.extra_keys} == {block.prefix()[0].shape[1] if hasattr(block, "prefix") else 0 for block in blocks}


@over_all
def test_the_declared_matmuls_are_the_flops_that_come_on_top(family, name):
    """Attention itself is not seen by torch's counter on the CPU; prefixes change nothing else."""
    tokens = {"encoder": 7, "decoder": 5, "cross": 7}
    without = flops(bare(family), tokens)
    backbone, method, _ = attached(family, name)
    ops = method.added(backbone.sizes, method.Config()).ops
    assert flops(backbone, tokens) - without == sum(2 * tokens[op.tokens] * op.k * op.n for op in ops)


def flops(backbone, tokens):
    ids = {side: torch.full((1, tokens[side]), 5) for side in ("encoder", "decoder")}
    inputs = {"input_ids": ids["decoder"]}
    if backbone.is_encoder_decoder:
        inputs = {"input_ids": ids["encoder"], "decoder_input_ids": ids["decoder"]}
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone.model(**inputs, use_cache=False)
    return counter.get_total_flops()


@over_all
def test_the_lowest_adapted_layer_is_where_the_gradient_ends(family, name):
    backbone, method, _ = shaken(family, name)
    lowest = backbone.attentions()[0]
    block = backbone.model.get_submodule(re.match(r".*?\.\d+", lowest.module)[0])
    needs = []

    def look(_, args, more):
        needs.append((*args, *more.values())[0].requires_grad)

    handle = block.register_forward_pre_hook(look, with_kwargs=True)
    loss(backbone)
    handle.remove()
    first = method.added(backbone.sizes, method.Config()).first_layer
    assert (needs[0], first) in ((True, None), (False, (lowest.stack, lowest.layer)))


@over_all
def test_a_saved_adapter_gives_the_same_log_probs_again_and_comes_off_again(family, name, tmp_path):
    backbone, method, names = shaken(family, name)
    adapter.save(tmp_path / "a", backbone, name, method.Config(), names)
    expected = log_probs(backbone)
    assert adapter.load(tmp_path / "a", bare(family)) == names
    assert torch.equal(log_probs(backbone), expected)
    backbone.detach_all()
    assert torch.equal(log_probs(backbone), untouched(family))


@over_all
def test_merged_is_unmerged_and_detaching_gives_the_loaded_model_back(family, name):
    num_modules = len(list(bare(family).model.modules()))
    backbone, method, _ = shaken(family, name)
    expected = log_probs(backbone)
    if method.merge is not None:
        method.merge(backbone)
        torch.testing.assert_close(log_probs(backbone), expected, atol=2e-5, rtol=1e-5)
    backbone.detach_all()
    assert torch.equal(log_probs(backbone), untouched(family))
    assert len(list(backbone.model.modules())) == num_modules


@over_all
def test_the_order_of_the_batch_does_not_matter(family, name):
    backbone, _, _ = shaken(family, name)
    values, mask = choice_log_probs(backbone, batch(backbone))
    turned, turned_mask = choice_log_probs(backbone, batch(backbone)[::-1])
    torch.testing.assert_close(turned.flip(0), values, atol=1e-5, rtol=1e-5)
    assert torch.equal(turned_mask.flip(0), mask)


@over_all
def test_a_role_that_matches_nothing_is_an_error(family, name, monkeypatch):
    method, asked = registry.method(name), []
    backbone = bare(family)
    real = backbone.sites
    monkeypatch.setattr(backbone, "sites", lambda role: asked.append(role) or real(role))
    method.attach(backbone, method.Config())
    backbone.detach_all()
    for missing in set(asked):
        monkeypatch.setattr(backbone, "sites", lambda role, missing=missing: [] if role == missing else real(role))
        with pytest.raises(MethodError, match=f"'{missing}'"):
            method.attach(backbone, method.Config())
        assert torch.equal(log_probs(backbone), untouched(family))  # nothing half-attached


@pytest.mark.parametrize("name", registry.METHODS)
def test_the_module_says_what_it_is_and_its_defaults_are_training_settings(name):
    from peftbench.recipe import Training

    method = registry.method(name)
    assert re.match(r"\d{4}\.\d{5}", method.PAPER)
    assert method.PAPER[:10] in method.__doc__
    Training(**method.DEFAULTS)
