"""What every method promises, over the registry and all families: to register a method is to put it under test."""

import re
from dataclasses import dataclass
from functools import cache
from itertools import product

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.learners.optimizer import Optimizer
from peftbench.learners.tune import _losses
from peftbench.methods import adapter
from peftbench.methods.stages import Stages
from peftbench.models.encoding import encode
from peftbench.models.forward import choice_log_probs
from peftbench.recipe import Training
from tests.tiny import FAMILIES, tiny_backbone

ROUNDING = 1e-6  # of the largest gradient; a bias on keys moves the loss by rounding errors alone
NUM_STEPS = 20

PROMPTS = [
    ("the premise says that the hypothesis does follow", ["yes it does follow", "no it does not"]),
    ("is the answer positive or negative?", ["it is positive", "it is negative", "maybe it is not"]),
    ("question: true or false", ["true as it stands", "false as it stands"]),
]
# Settings that make another method of it; each stands beside the defaults.
VARIANTS = {
    "bitfit": [{"layer_norms": True}],
    "ia3": [{"places": "all"}],
    "lora": [{"layer_norms": True}],
    "p_tuning": [{"encoder": "mlp", "hidden_size": 3}, {"encoder": "embedding"}],
    "prefix_tuning": [{"reparameterize": True, "hidden_size": 5}],
    "prompt_tuning": [{"init": "labels"}],
    "compacter": [{"shared_phm_rule": False, "phm_rank": 2}],
    "bottleneck": [{"placement": "pfeiffer", "drop_layers": 1}],
    "diff_pruning": [{"target_ratio": 0.1}],
}

CUTS = {"diff_pruning"}  # without training, nothing has been cut yet when it finishes


@dataclass(frozen=True)
class Case:
    family: str
    name: str
    settings: tuple = ()

    @property
    def method(self):
        return registry.method(self.name)

    @property
    def config(self):
        return self.method.Config(**dict(self.settings))

    def __str__(self):
        return "-".join([self.family, self.name, *(f"{key}={value}" for key, value in self.settings)])


CASES = [
    Case(family, name, tuple(settings.items()))
    for family, name in product(FAMILIES, registry.METHODS)
    for settings in [{}, *VARIANTS.get(name, [])]
]
over_all = pytest.mark.parametrize("case", CASES, ids=str)


loaded = cache(tiny_backbone)  # loading costs more than most of these tests


@cache
def untouched(family):
    return log_probs(tiny_backbone(family))


def bare(family):
    loaded(family).detach_all()
    return loaded(family)


def attached(case):
    torch.manual_seed(0)
    backbone = bare(case.family)
    return backbone, case.method.attach(backbone, case.config)


def shaken(case):
    backbone, names = attached(case)
    backbone.train_only(names)
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return backbone, names


def finished(case):
    backbone, names = shaken(case)
    return backbone, Stages(case.method, backbone, case.config, names).finish()


def batch(backbone):
    return [encode(backbone, text, choices, end="eos", separator="\n\n", label=0) for text, choices in PROMPTS]


def log_probs(backbone):
    with torch.no_grad():
        return choice_log_probs(backbone, batch(backbone))[0]


def loss(backbone, case):
    """Cross-entropy of the first choice against the others, and of all tokens: no parameter is left out by symmetry."""
    values, mask = choice_log_probs(backbone, batch(backbone))
    per_choice = values.sum(-1)
    total = -(per_choice[:, 0] - per_choice[:, 1:].logsumexp(-1)).mean() - 0.1 * values[mask].mean()
    return Stages(case.method, backbone, case.config, []).penalized({"loss": total})["loss"]


@over_all
def test_an_untrained_method_leaves_the_model_as_it_was_exactly_if_it_says_so(case):
    backbone, _ = attached(case)
    assert torch.equal(log_probs(backbone), untouched(case.family)) == case.method.IDENTITY_AT_INIT


@over_all
def test_every_parameter_gets_a_gradient_or_is_declared_dead(case):
    backbone, names = shaken(case)
    loss(backbone, case).backward()
    parameters = backbone.parameters_named(names)
    sizes = {n: 0.0 if p.grad is None else p.grad.abs().max().item() for n, p in parameters.items()}
    for full_name, size in sizes.items():
        is_dead = any(re.search(pattern, full_name) for pattern in case.method.DEAD)
        assert (size < ROUNDING * max(sizes.values())) == is_dead, (full_name, size)


@over_all
def test_a_step_lowers_the_loss_and_changes_nothing_that_was_not_returned(case):
    backbone, names = shaken(case)
    others = {n: p.detach().clone() for n, p in backbone.model.named_parameters() if n not in names}
    before = loss(backbone, case)
    before.backward()
    parameters = backbone.parameters_named(names).values()
    size = torch.stack([parameter.grad.square().sum() for parameter in parameters]).sum().sqrt()
    torch.optim.SGD([p for p in backbone.model.parameters() if p.requires_grad], lr=1e-3 / float(size)).step()
    assert loss(backbone, case) < before
    assert all(torch.equal(backbone.model.get_parameter(n), value) for n, value in others.items())


@over_all
def test_all_that_came_in_is_returned_and_nothing_twice(case):
    base = {n for n, _ in bare(case.family).model.named_parameters()}
    backbone, names = attached(case)
    inside = {n for n, _ in backbone.model.named_parameters()}
    assert len(set(names)) == len(names)
    assert inside - base <= set(names) <= inside


@over_all
def test_the_declared_sizes_are_what_is_there(case):
    backbone, names = attached(case)
    added = case.method.added(backbone.sizes, case.config)
    count = sum(parameter.numel() for parameter in backbone.parameters_named(names).values())
    assert added.num_parameters in (count, None)  # None: a matter of all weights, which the sizes do not number
    soft = backbone.soft_prompt
    assert added.extra_tokens == (0 if soft is None else len(soft()))
    blocks = [backbone.model.get_submodule(block.module) for block in backbone.attentions()]
    assert {added.extra_keys} == {block.prefix()[0].shape[1] if hasattr(block, "prefix") else 0 for block in blocks}


@over_all
def test_the_declared_matmuls_are_the_flops_that_come_on_top(case):
    """Attention itself is not seen by torch's counter on the CPU; prefixes change nothing else."""
    tokens = {"encoder": 7, "decoder": 5, "cross": 7}
    without = flops(bare(case.family), tokens)
    backbone, _ = finished(case)
    ops = [op for op in case.method.added(backbone.sizes, case.config).ops if not op.training_only]
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
def test_the_lowest_adapted_layer_is_where_the_gradient_ends(case):
    backbone, _ = shaken(case)
    needs = {}

    def watch(layer):
        def look(_, args, more):
            needs[layer.stack, layer.layer] = (*args, *more.values())[0].requires_grad

        return backbone.model.get_submodule(layer.module).register_forward_pre_hook(look, with_kwargs=True)

    handles = [watch(layer) for layer in backbone.layers()]
    loss(backbone, case)
    for handle in handles:
        handle.remove()
    order = [(layer.stack, layer.layer) for layer in backbone.layers()]
    first = case.method.added(backbone.sizes, case.config).first_layer
    above = order if first is None else order[order.index(first) + 1 :]
    if backbone.is_encoder_decoder:  # the decoder's lowest layer reads the encoder beside the input that is watched
        needs.pop(("decoder", 0))
    assert [place for place in order if needs.get(place)] == [place for place in above if place in needs]


@over_all
def test_a_saved_adapter_gives_the_same_log_probs_again_and_comes_off_again(case, tmp_path):
    backbone, names = finished(case)
    adapter.save(tmp_path / "a", backbone, case.name, case.config, names)
    expected = log_probs(backbone)
    assert adapter.load(tmp_path / "a", bare(case.family)) == names
    assert torch.equal(log_probs(backbone), expected)
    backbone.detach_all()
    assert torch.equal(log_probs(backbone), untouched(case.family))


@over_all
def test_finished_and_merged_are_as_trained_and_detaching_gives_the_loaded_model_back(case):
    num_modules = len(list(bare(case.family).model.modules()))
    backbone, names = shaken(case)
    trained = log_probs(backbone)
    Stages(case.method, backbone, case.config, names).finish()
    expected = log_probs(backbone)
    if case.name not in CUTS:
        torch.testing.assert_close(expected, trained, atol=2e-5, rtol=1e-5)
    if case.method.merge is not None:
        case.method.merge(backbone)
        torch.testing.assert_close(log_probs(backbone), expected, atol=2e-5, rtol=1e-5)
        assert {n for n, _ in backbone.model.named_parameters() if "bias" not in n} <= set(backbone.base_names)
    backbone.detach_all()
    assert torch.equal(log_probs(backbone), untouched(case.family))
    assert len(list(backbone.model.modules())) == num_modules
    assert [n for n, _ in backbone.model.named_parameters()] == backbone.base_names


@over_all
def test_the_order_of_the_batch_does_not_matter(case):
    backbone, _ = shaken(case)
    values, mask = choice_log_probs(backbone, batch(backbone))
    turned, turned_mask = choice_log_probs(backbone, batch(backbone)[::-1])
    torch.testing.assert_close(turned.flip(0), values, atol=1e-5, rtol=1e-5)
    assert torch.equal(turned_mask.flip(0), mask)


@over_all
def test_a_role_that_matches_nothing_is_an_error(case, monkeypatch):
    asked = []
    backbone = bare(case.family)
    real = backbone.sites
    monkeypatch.setattr(backbone, "sites", lambda role: asked.append(role) or real(role))
    case.method.attach(backbone, case.config)
    backbone.detach_all()
    for missing in set(asked):
        monkeypatch.setattr(backbone, "sites", lambda role, missing=missing: [] if role == missing else real(role))
        with pytest.raises(MethodError, match=f"'{missing}'"):
            case.method.attach(backbone, case.config)
        assert torch.equal(log_probs(backbone), untouched(case.family))  # nothing half-attached


# What is cut to half a percent of a tiny model has hardly a weight left to learn with: its variant keeps more.
LEARNERS = [case for case in CASES if case.family in ("t5", "gpt2") and bool(case.settings) == (case.name in CUTS)]


@pytest.mark.parametrize("case", LEARNERS, ids=str)
def test_with_its_defaults_it_learns(case):
    """Twenty steps of its own optimiser lower the loss; steps a thousandth as large, as zeros get, would not show."""
    torch.manual_seed(0)
    backbone = bare(case.family)
    names = case.method.attach(backbone, case.config)
    backbone.train_only(names)
    training, examples = Training(**case.method.DEFAULTS | {"num_steps": NUM_STEPS}), batch(backbone)
    stages = Stages(case.method, backbone, case.config, names)
    stages.prepare([[example] for example in examples], lambda some: _losses(backbone, some, training)["loss"])
    optimizer = Optimizer(backbone.parameters_named(names).values(), training)
    before = _losses(backbone, examples, training)["loss"].item()
    for step in range(NUM_STEPS):
        terms = stages.penalized(_losses(backbone, examples, training))
        terms["loss"].backward()
        stages.before_step(step, NUM_STEPS)
        optimizer.step(step, terms["loss"].item())
        stages.after_step(step, NUM_STEPS)
    stages.finish()
    with torch.no_grad():
        after = _losses(backbone, examples, training)["loss"].item()
    assert after < 0.998 * before, (before, after)


@pytest.mark.parametrize("name", registry.METHODS)
def test_the_module_says_what_it_is_and_its_defaults_are_training_settings(name):
    method = registry.method(name)
    assert re.match(r"\d{4}\.\d{5}", method.PAPER)
    assert method.PAPER[:10] in method.__doc__
    Training(**method.DEFAULTS)
