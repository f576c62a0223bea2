"""What every method promises: promises are functions over a case that has come to a stage of its life.

    bare -> attached -> trained -> finished

A stage is reached once, and all promises about it look at the same case, those that change it last.
"""

import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
import torch

from peftbench import registry
from peftbench.adapters import saved
from peftbench.costs import count
from peftbench.costs.kernels import Kernels
from peftbench.errors import MethodError
from peftbench.learners.optimizer import Optimizer
from peftbench.learners.tune import _losses
from peftbench.methods.base import Place
from peftbench.methods.stages import Stages
from peftbench.scoring import frozen, packing
from peftbench.scoring.forward import choice_log_probs
from peftbench.spec.cell import Training
from tests.scoring.prompts import encode_one
from tests.tiny import tiny_backbone

ROUNDING = 1e-6  # of the largest gradient; a bias on keys moves the loss by rounding errors alone
CUTS = {"diff_pruning"}  # without training, nothing has been cut yet when it finishes
ROLES = ("q", "k", "v", "o", "ff_gate", "ff_up", "ff_out", "norm")
NUM_STEPS = 1000  # the one step that is taken is the first of so many
VALUE_AND_PLACE = 4 + 8  # bytes: a share of all weights is a whole number of them
TOKENS = {"encoder": 7, "decoder": 5, "cross": 7}

PROMPTS = [
    ("the premise says that the hypothesis does follow", ["yes it does follow", "no it does not"]),
    ("is the answer positive or negative?", ["it is positive", "it is negative", "maybe it is not"]),
    ("question: true or false", ["true as it stands", "false as it stands"]),
]


@dataclass(frozen=True)
class Case:
    """A method with some settings, on a tiny model of a family."""

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


@dataclass
class State:
    """A case at a stage, with what was seen on the way there.

    Args:
        names: What `attach` returned; when finished, what `finish` did.
        gradients: Name -> largest gradient of the first step.
        reached: (stack, layer) -> whether what enters it needs a gradient.
        frozen: The parameters that were not returned, as they were before the step.
        losses: Before and after the step.
        values: Log-probabilities and mask after the step.
        expected: Log-probabilities when it had finished.
    """

    case: Case
    backbone: object
    names: list = field(default_factory=list)
    gradients: dict = field(default_factory=dict)
    reached: dict = field(default_factory=dict)
    frozen: dict = field(default_factory=dict)
    losses: tuple = ()
    values: tuple = ()
    expected: object = None

    @property
    def method(self):
        return self.case.method

    @property
    def stages(self):
        return Stages(self.method, self.backbone, self.case.config, self.names)

    @property
    def added(self):
        return self.method.added(self.backbone.sizes, self.case.config)


# --- stages: each takes a state further


def bare(case):
    """Start from a backbone with nothing attached; one that a broken method has left changed is loaded anew."""
    backbone = loaded(case.family)
    backbone.detach_all()
    if what_is_there(backbone) != there_from_the_start(case.family) or not is_as_loaded(backbone, case.family):
        loaded.cache_clear()
    return State(case, loaded(case.family))


def attach(state):
    torch.manual_seed(0)
    state.names = state.method.attach(state.backbone, state.case.config)
    return state


def train(state):
    """Take one step from a little noise: without it LoRA's A would have no gradient at the start."""
    backbone, stages = state.backbone, state.stages
    backbone.model.train()  # diff pruning's gates are open or shut for good when it is not
    backbone.train_only(state.names)
    stages.prepare([[example] for example in batch(backbone)], lambda some: -choice_log_probs(backbone, some)[0].sum())
    parameters = backbone.parameters_named(state.names)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.02 * torch.randn_like(parameter))
    state.frozen = {n: p.detach().clone() for n, p in backbone.model.named_parameters() if n not in parameters}
    with watched(state):
        before = loss(state, choice_log_probs(backbone, batch(backbone)))
    before.backward()
    state.gradients = {n: 0.0 if p.grad is None else p.grad.abs().max().item() for n, p in parameters.items()}
    stages.before_step(0, NUM_STEPS)
    trainable = [p for p in backbone.model.parameters() if p.grad is not None]
    size = torch.stack([p.grad.square().sum() for p in trainable]).sum().sqrt()
    torch.optim.SGD(trainable, lr=1e-3 / float(size)).step()
    with torch.no_grad():
        state.values = choice_log_probs(backbone, batch(backbone))
        state.losses = before.item(), loss(state, state.values).item()
        stages.after_step(0, NUM_STEPS)
        backbone.model.eval()
        state.values = choice_log_probs(backbone, batch(backbone))
    return state


def finish(state):
    state.names = state.stages.finish()
    state.expected = log_probs(state.backbone)
    return state


loaded = cache(tiny_backbone)  # loading costs more than all that is done with it
fresh = cache(lambda family: tiny_backbone(family))  # and this one is never touched


def what_is_there(backbone):
    """Names of modules and parameters, hooks, and attributes that hide parameters or methods."""
    modules = dict(backbone.model.named_modules())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules.values()]
    hidden = [n for n, m in modules.items() if {"weight", "bias", "forward"} & vars(m).keys()]
    return list(modules), [n for n, _ in backbone.model.named_parameters()], hooks, hidden


@cache
def there_from_the_start(family):
    return what_is_there(fresh(family))


def is_as_loaded(backbone, family):
    pairs = zip(backbone.model.parameters(), fresh(family).model.parameters(), strict=True)
    return all(torch.equal(here, there) for here, there in pairs)


@cache
def batch(backbone):
    end = "none" if backbone.sizes.is_encoder_only else "eos"
    return [encode_one(backbone, text, choices, end=end, separator="\n\n", label=0) for text, choices in PROMPTS]


def log_probs(backbone):
    with torch.no_grad():
        return choice_log_probs(backbone, batch(backbone))[0]


@cache
def untouched(family):
    return log_probs(fresh(family))


def loss(state, found):
    """Cross-entropy of the first choice against the others, and of all tokens: no parameter is left out by symmetry."""
    values, mask = found
    per_choice = values.sum(-1)
    total = -(per_choice[:, 0] - per_choice[:, 1:].logsumexp(-1)).mean() - 0.1 * values[mask].mean()
    return state.stages.penalized({"loss": total})["loss"]


@contextmanager
def watched(state):
    """Note which layers' inputs need a gradient."""

    def watch(layer):
        def look(_, args, more):
            state.reached[layer.stack, layer.layer] = (*args, *more.values())[0].requires_grad

        return state.backbone.model.get_submodule(layer.module).register_forward_pre_hook(look, with_kwargs=True)

    handles = [watch(layer) for layer in state.backbone.layers()]
    yield
    for handle in handles:
        handle.remove()


def flops(backbone):
    ids = {side: torch.full((1, TOKENS[side]), 5) for side in ("encoder", "decoder")}
    inputs = {"input_ids": ids["decoder"]}
    if backbone.is_encoder_decoder:
        inputs = {"input_ids": ids["encoder"], "decoder_input_ids": ids["decoder"]}
    with Kernels() as kernels, torch.no_grad():
        backbone.model(**inputs, use_cache=False)
    return kernels.flops


bare_flops = cache(lambda family: flops(fresh(family)))


# --- promises about a bare backbone


def a_role_that_matches_nothing_is_an_error_and_leaves_nothing_half_attached(state):
    backbone, asked, real = state.backbone, [], state.backbone.sites
    with mock.patch.object(backbone, "sites", lambda role: asked.append(role) or real(role)):
        state.method.attach(backbone, state.case.config)
    backbone.detach_all()
    for missing in set(asked):
        lacking = mock.patch.object(
            backbone, "sites", lambda role, missing=missing: [] if role == missing else real(role)
        )
        with lacking, pytest.raises(MethodError, match=f"'{missing}'"):
            state.method.attach(backbone, state.case.config)
        assert what_is_there(backbone) == there_from_the_start(state.case.family), missing


# --- promises about an attached method


def untrained_it_leaves_the_model_as_it_was_exactly_if_it_says_so(state):
    unchanged = torch.equal(log_probs(state.backbone), untouched(state.case.family))
    assert unchanged == state.method.IDENTITY_AT_INIT


def all_that_came_in_is_returned_and_nothing_twice(state):
    inside = {name for name, _ in state.backbone.model.named_parameters()}
    assert len(set(state.names)) == len(state.names)
    assert inside - set(state.backbone.base_names) <= set(state.names) <= inside


def the_declared_sizes_are_what_is_there(state):
    added = state.added
    count = sum(parameter.numel() for parameter in state.backbone.parameters_named(state.names).values())
    assert added.num_parameters in (count, None)  # None: a matter of all weights, which the sizes do not number
    soft = state.backbone.soft_prompt
    assert added.extra_tokens == (0 if soft is None else len(soft()))
    blocks = [state.backbone.model.get_submodule(block.module) for block in state.backbone.attentions()]
    assert {added.extra_keys} == {block.prefix()[0].shape[1] if hasattr(block, "prefix") else 0 for block in blocks}


def the_declared_places_are_where_something_stands(state):
    """Ops and places against what was inserted, weights against what was freed or overlaid."""
    backbone, added, sizes = state.backbone, state.added, state.backbone.sizes
    changed = {*state.names, *backbone._overlays}
    own = [site for role in ROLES for site in backbone.sites(role) if f"{site.module}.weight" in changed]
    standing = {_spot(site, sizes) for site, _ in backbone.inserted}
    standing |= {_spot(site, sizes) for site in own if site.role == "norm" and not added.embeddings}
    standing |= {(block.stack, block.layer, block.kind, role) for block in backbone.prefixes for role in ("k", "v")}
    assert {_spot(place, sizes) for place in (*added.places, *(op.place for op in added.ops if op.place))} == standing
    weights = {_spot(site, sizes) for site in own if site.role != "norm"}
    assert {_spot(place, sizes) for place in added.weights} == weights


def _spot(place, sizes):
    """Name a Place or a Site; what goes into a fused layer is one thing, and norms are told apart by layer only."""
    if place.role == "norm":
        return place.stack, place.layer, "norm"
    block = place.block if isinstance(place, Place) else place.attention or "ff"
    role = "+".join(sizes.together(place.role)) if place.side == "input" else place.role
    into = {"ff_hidden": "into ff_out"}.get(role, f"into {role}" if place.side == "input" else role)
    return place.stack, place.layer, block, into


# --- promises about training


def every_parameter_gets_a_gradient_or_is_declared_dead(state):
    largest = max(state.gradients.values())
    for full_name, size in state.gradients.items():
        is_dead = any(re.search(pattern, full_name) for pattern in state.method.DEAD)
        assert (size < ROUNDING * largest) == is_dead, (full_name, size)


def a_step_changes_nothing_that_was_not_returned(state):
    changed = [n for n, value in state.frozen.items() if not torch.equal(state.backbone.model.get_parameter(n), value)]
    assert not changed


def a_step_lowers_the_loss(state):
    before, after = state.losses
    assert after < before


def the_lowest_adapted_layer_is_where_the_gradient_ends(state):
    order = [(layer.stack, layer.layer) for layer in state.backbone.layers()]
    first = state.added.first_layer
    above = order if first is None else order[order.index(first) + 1 :]
    reached = dict(state.reached)
    if state.backbone.is_encoder_decoder:  # the decoder's lowest layer reads the encoder beside the input that is seen
        reached.pop(("decoder", 0))
    assert [place for place in order if reached.get(place)] == [place for place in above if place in reached]


def below_the_lowest_adapted_layer_nothing_is_run_with_each_step(state):
    """What is found in the model is what is declared; a step of a broken count would train on other states."""
    declared = frozen.layers(state.backbone, state.added.first_layer)
    assert frozen.layers(state.backbone, frozen.first_adapted(state.backbone)) == declared


def the_order_of_the_batch_does_not_matter(state):
    """Each example in a row of its own: which of them share one has a promise of its own."""
    examples = batch(state.backbone)
    with torch.no_grad():
        values, mask = choice_log_probs(state.backbone, examples, is_packed=False)
        turned, turned_mask = choice_log_probs(state.backbone, examples[::-1], is_packed=False)
    torch.testing.assert_close(turned.flip(0), values, atol=1e-5, rtol=1e-5)
    assert torch.equal(turned_mask.flip(0), mask)


def examples_that_share_a_row_are_as_alone(state):
    """In values and gradients, whatever `scoring.packing` would choose."""
    backbone, examples = state.backbone, batch(state.backbone)
    parameters = backbone.parameters_named(state.names)
    results = []
    for places in ([[0], [1], [2]], [[2, 0], [1]], [[0, 1, 2]]):
        with mock.patch.object(packing, "spread", lambda *_, places=places: places):
            values = choice_log_probs(backbone, examples)[0]  # (batch, choices, length)
        weights = torch.sin(torch.arange(values.numel())).view_as(values)  # no two examples may stand for each other
        gradients = torch.autograd.grad((weights * values).sum(), parameters.values(), allow_unused=True)
        results.append((values.detach(), gradients))
    (alone, of_each), *others = results
    largest = max(float(gradient.abs().max()) for gradient in of_each if gradient is not None)
    for values, gradients in others:
        torch.testing.assert_close(values, alone, atol=1e-5, rtol=1e-5)
        for gradient, expected in zip(gradients, of_each, strict=True):
            torch.testing.assert_close(gradient, expected, atol=1e-5 * max(1.0, largest), rtol=1e-4)


# --- promises about what is left when training has ended


def finished_it_is_as_trained(state):
    if state.case.name not in CUTS:
        torch.testing.assert_close(state.expected, state.values[0], atol=2e-5, rtol=1e-5)


def the_declared_matmuls_are_the_flops_that_come_on_top(state):
    """Attention itself is not seen by torch's counter on the CPU; prefixes change nothing else."""
    ops = [op for op in state.added.ops if not op.training_only]
    more = flops(state.backbone) - bare_flops(state.case.family)
    once = count.once_flops(state.backbone.sizes, state.added) - count.once_flops(state.backbone.sizes, count.NOTHING)
    assert more == sum(2 * TOKENS[op.tokens] * op.k * op.n for op in ops) + once


def the_declared_bytes_are_those_of_the_tensors_that_are_saved(state):
    tensors = state.backbone.tensors_named(state.names)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    added = state.method.added_finished(state.backbone.sizes, state.case.config, shapes)
    stored = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    declared = added.num_saved_bytes(state.backbone.num_parameters)
    assert abs(stored - declared) <= (0 if added.num_parameters else VALUE_AND_PLACE)


def saved_and_loaded_it_gives_the_same_log_probs_bit_for_bit(state):
    with TemporaryDirectory() as folder:
        saved.save(Path(folder) / "a", state.backbone, state.case.name, state.case.config, state.names)
        state.backbone = bare(state.case).backbone
        assert saved.load(Path(folder) / "a", state.backbone) == state.names
    assert torch.equal(log_probs(state.backbone), state.expected)


def merged_it_is_as_unmerged_and_nothing_of_it_is_left(state):
    if state.method.merge is not None:
        state.method.merge(state.backbone)
        torch.testing.assert_close(log_probs(state.backbone), state.expected, atol=2e-5, rtol=1e-5)
        left = {name for name, _ in state.backbone.model.named_parameters() if "bias" not in name}
        assert left <= set(state.backbone.base_names)


def detaching_gives_the_loaded_model_back(state):
    state.backbone.detach_all()
    assert what_is_there(state.backbone) == there_from_the_start(state.case.family)
    assert is_as_loaded(state.backbone, state.case.family)


# --- learning


WORDS = ("premise", "hypothesis", "question", "answer", "maybe", "follow", "true", "says")
STEPS, FASTER = 20, 10


def it_learns_with_its_defaults(case):
    """Eight examples that one word tells apart; twenty steps ten times as large stand for two hundred.

    The loss falls by a fifth or more. A virtual token, which is the same for all examples, hardly tells them apart in
    a model of random weights; it has to learn what is asked, to say yes or no.
    """
    state = attach(bare(case))
    backbone, stages, defaults = state.backbone, state.stages, case.method.DEFAULTS
    training = Training(**defaults | {"lr": FASTER * defaults["lr"], "num_steps": STEPS})
    texts = [f"the {word} is it" for word in WORDS]
    end = {"end": "eos" if backbone.is_encoder_decoder else "none", "separator": "\n\n"}
    examples = [encode_one(backbone, text, ["yes", "no"], **end, label=n % 2) for n, text in enumerate(texts)]
    backbone.train_only(state.names)
    stages.prepare([[each] for each in examples], lambda some: _losses(backbone, some, training)["loss"])
    optimizer = Optimizer(backbone.parameters_named(state.names).values(), training)
    before = _losses(backbone, examples, training)["loss"].item()
    backbone.model.train()
    for step in range(STEPS):
        terms = stages.penalized(_losses(backbone, examples, training))
        terms["loss"].backward()
        stages.before_step(step, STEPS)
        optimizer.step(step, terms["loss"].item())
        stages.after_step(step, STEPS)
    stages.finish()
    backbone.model.eval()
    with torch.no_grad():
        after = _losses(backbone, examples, training)["loss"].item()
    assert after < (0.92 if state.added.extra_tokens else 0.8) * before, (before, after)


Promise = Callable[[State], None]
CONTRACT: dict[str, tuple[Callable, list[Promise]]] = {
    "bare": (bare, [a_role_that_matches_nothing_is_an_error_and_leaves_nothing_half_attached]),
    "attached": (
        attach,
        [
            untrained_it_leaves_the_model_as_it_was_exactly_if_it_says_so,
            all_that_came_in_is_returned_and_nothing_twice,
            the_declared_sizes_are_what_is_there,
            the_declared_places_are_where_something_stands,
        ],
    ),
    "trained": (
        train,
        [
            every_parameter_gets_a_gradient_or_is_declared_dead,
            a_step_changes_nothing_that_was_not_returned,
            a_step_lowers_the_loss,
            the_lowest_adapted_layer_is_where_the_gradient_ends,
            below_the_lowest_adapted_layer_nothing_is_run_with_each_step,
            the_order_of_the_batch_does_not_matter,
            examples_that_share_a_row_are_as_alone,
        ],
    ),
    "finished": (
        finish,
        [
            finished_it_is_as_trained,
            the_declared_matmuls_are_the_flops_that_come_on_top,
            the_declared_bytes_are_those_of_the_tensors_that_are_saved,
            saved_and_loaded_it_gives_the_same_log_probs_bit_for_bit,
            merged_it_is_as_unmerged_and_nothing_of_it_is_left,
            detaching_gives_the_loaded_model_back,
        ],
    ),
}
PROMISES = {promise: stage for stage, (_, promises) in CONTRACT.items() for promise in promises}


def walk(case):
    """Take a case through all stages, and give each promise at its stage: to be called before the next one."""
    state = case
    for step, promises in CONTRACT.values():
        state = step(state)
        for promise in promises:
            yield promise, state


def check(promise, state, subtests):
    """Check a promise; a broken one is told as a subtest, so that the others are checked as well.

    One that is kept is none: opening hundreds of them costs more than most promises.
    """
    try:
        promise(state)
    except (Exception, pytest.fail.Exception):
        with subtests.test(promise.__name__):
            raise


def reach(case, stage):
    """Take a case to a stage, past all promises."""
    state = case
    for name, (step, _) in CONTRACT.items():
        state = step(state)
        if name == stage:
            return state
