"""The contract can fail: for each promise a method that breaks it, and the promise says so."""

import importlib
from dataclasses import dataclass, replace
from functools import wraps
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.methods.base import Method
from peftbench.methods.parts import sites
from tests.methods import contract
from tests.methods.contract import Case


@dataclass(frozen=True)
class Fault:
    """A promise, what breaks it, and what the method is made from: name -> what takes the method's own place."""

    promise: object
    what: str
    method: str
    plant: object
    family: str = "t5"

    def __str__(self):
        return f"{self.promise.__name__}: {self.what}"


FAULTS = []


def fault(promise, what, method="ia3", family="t5"):
    def note(plant):
        FAULTS.append(Fault(promise, what, method, plant, family))
        return plant

    return note


def after(name, change):
    """Plant what `change(result, backbone or sizes, config)` makes of a function's result."""

    def plant(method):
        real = getattr(method, name)

        @wraps(real)
        def planted(first, config=None, *more):
            result = real(first, *([] if config is None else [config, *more]))
            return change(result, first, config)

        return {name: planted}

    return plant


def wrong_forward(forward):
    """Let the modules that `attach` inserts compute something else."""

    def change(names, backbone, config):
        for module in backbone.inserted.values():
            module.forward = forward.__get__(module)
        return names

    return after("attach", change)


def wrong_added(**fields):
    return after("added", lambda added, sizes, config: replace(added, **{n: f(added) for n, f in fields.items()}))


def bump(backbone, name=None):
    with torch.no_grad():
        backbone.model.get_parameter(name or backbone.base_names[-1]).add_(1.0)


# --- bare


@fault(contract.a_role_that_matches_nothing_is_an_error_and_leaves_nothing_half_attached, "it takes what is there")
def silent(method):
    def attach(backbone, config):
        for site in backbone.sites("k"):
            backbone.insert(site, "l_k", method.Scale(site.features))
        return [f"{site.module}.l_k.weight" for site in backbone.sites("k")]

    return {"attach": attach}


@fault(contract.a_role_that_matches_nothing_is_an_error_and_leaves_nothing_half_attached, "it inserts before it looks")
def half(method):
    def attach(backbone, config):
        names = []
        for role in ("k", "v"):
            for site in sites.required(backbone, role, "half"):
                backbone.insert(site, f"l_{role}", method.Scale(site.features))
                names.append(f"{site.module}.l_{role}.weight")
        return names

    return {"attach": attach}


# --- attached

identity = contract.untrained_it_leaves_the_model_as_it_was_exactly_if_it_says_so
fault(identity, "it claims to be one", "bottleneck")(lambda method: {"IDENTITY_AT_INIT": True})
fault(identity, "it is one and denies it", "lora")(lambda method: {"IDENTITY_AT_INIT": False})

returned = contract.all_that_came_in_is_returned_and_nothing_twice
fault(returned, "one is forgotten")(after("attach", lambda names, *_: names[:-1]))
fault(returned, "one comes twice")(after("attach", lambda names, *_: [*names, names[0]]))

sizes = contract.the_declared_sizes_are_what_is_there
fault(sizes, "one parameter too many")(wrong_added(num_parameters=lambda added: added.num_parameters + 1))
fault(sizes, "a virtual token is forgotten", "prompt_tuning")(wrong_added(extra_tokens=lambda added: 9))
fault(sizes, "a virtual key is forgotten", "prefix_tuning")(wrong_added(extra_keys=lambda added: 9))

stands = contract.the_declared_places_are_where_something_stands
fault(stands, "an op stands in another layer", "lora")(
    wrong_added(ops=lambda added: tuple(replace(op, place=replace(op.place, layer=0)) for op in added.ops))
)
fault(stands, "a vector acts on what goes in instead of what comes out")(
    wrong_added(places=lambda added: (replace(added.places[0], side="input"), *added.places[1:]))
)
fault(stands, "a freed matrix is not told of", "top_layers")(wrong_added(weights=lambda added: added.weights[1:]))
fault(stands, "an op in cross-attention is said to be in self-attention", "lora")(
    wrong_added(ops=lambda added: tuple(replace(op, place=replace(op.place, block="self")) for op in added.ops))
)

# --- trained

gradient = contract.every_parameter_gets_a_gradient_or_is_declared_dead


@fault(gradient, "a parameter that nothing reads")
def idle(method):
    def change(names, backbone, config):
        backbone.adopt("idle", nn.Linear(2, 1, bias=False))
        return [*names, "idle.weight"]

    return after("attach", change)(method)


fault(gradient, "a parameter that lives is declared dead")(lambda method: {"DEAD": {"l_k": "so it is said"}})
fault(gradient, "a dead one is not declared", "bitfit")(lambda method: {"DEAD": {}})

fault(contract.a_step_changes_nothing_that_was_not_returned, "a frozen weight is moved after the step")(
    lambda method: {"after_step": lambda backbone, config, step, num_steps: bump(backbone)}
)


@fault(contract.a_step_changes_nothing_that_was_not_returned, "a frozen weight is trained", "layernorm")
def left_training(method):
    def before_step(backbone, config, step, num_steps):
        weight = backbone.model.get_parameter(backbone.base_names[0])
        weight.grad = torch.ones_like(weight)

    return {"before_step": before_step}


class Reversed(torch.autograd.Function):
    """Let through what comes, and turn the gradient round."""

    @staticmethod
    def forward(ctx, y):
        return y.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


fault(contract.a_step_lowers_the_loss, "the gradient points the wrong way")(
    wrong_forward(lambda self, y, x: Reversed.apply(self.weight) * y)
)

ends = contract.the_lowest_adapted_layer_is_where_the_gradient_ends
top = lambda places: tuple(place for place in places if (place.stack, place.layer) == ("decoder", 1))  # noqa: E731
fault(ends, "the lowest layers are not told of")(wrong_added(places=lambda added: top(added.places)))
fault(ends, "the gradient is said to end above")(wrong_added(embeddings=lambda added: True))
fault(ends, "ops are said to be higher up than they are", "bottleneck", "gpt2")(
    wrong_added(ops=lambda added: tuple(replace(op, place=replace(op.place, layer=1)) for op in added.ops))
)

below = contract.below_the_lowest_adapted_layer_nothing_is_run_with_each_step
fault(below, "layers are said to be trained from the embeddings on", "top_layers")(
    wrong_added(embeddings=lambda added: True)
)


@fault(below, "it acts on a layer that it does not tell of", "top_layers", "gpt2")
def acting_below(method):
    def change(names, backbone, config):
        hook = backbone.model.get_submodule(backbone.layers()[0].module).register_forward_hook(lambda *_: None)
        backbone.on_take_out(hook.remove)
        return names

    return after("attach", change)(method)


order = contract.the_order_of_the_batch_does_not_matter
fault(order, "rows are mixed")(wrong_forward(lambda self, y, x: self.weight * (y + 0.1 * y.roll(1, 0))))
fault(order, "the first row is another")(
    wrong_forward(lambda self, y, x: self.weight * torch.cat((1.1 * y[:1], y[1:])))
)

shared = contract.examples_that_share_a_row_are_as_alone
for family in ("gpt2", "t5"):
    fault(shared, f"a token feels all that stand before it in its row, {family}", family=family)(
        wrong_forward(lambda self, y, x: self.weight * (y + 0.1 * y.cumsum(1)))
    )

# --- finished

as_trained = contract.finished_it_is_as_trained
fault(as_trained, "what it leaves is not what it was", "prefix_tuning")(
    after("finish", lambda names, backbone, _: bump(backbone, names[0]) or names)
)

on_top = contract.the_declared_matmuls_are_the_flops_that_come_on_top
fault(on_top, "an op is forgotten", "lora")(wrong_added(ops=lambda added: added.ops[1:]))
fault(on_top, "an op has one feature too many", "bottleneck")(
    wrong_added(ops=lambda added: (replace(added.ops[0], k=added.ops[0].k + 1), *added.ops[1:]))
)
fault(on_top, "an op's tokens are the decoder's, not the encoder's", "lora")(
    wrong_added(ops=lambda added: tuple(replace(op, place=replace(op.place, stack="decoder")) for op in added.ops))
)
fault(on_top, "ops are said to be of training only", "lora")(
    wrong_added(ops=lambda added: tuple(replace(op, training_only=True) for op in added.ops))
)

stored = contract.the_declared_bytes_are_those_of_the_tensors_that_are_saved
fault(stored, "places are forgotten", "fishmask")(wrong_added(saved_bytes=lambda added: None))
fault(stored, "a prefix is thought to take half the bytes", "prefix_tuning")(
    wrong_added(saved_bytes=lambda added: added.saved_bytes / 2)
)

saved = contract.saved_and_loaded_it_gives_the_same_log_probs_bit_for_bit
fault(saved, "one is not saved", "prefix_tuning")(after("finish", lambda names, *_: names[:-1]))
fault(saved, "something that is not saved has changed", "layernorm")(
    lambda method: {"finish": lambda backbone, config: bump(backbone, "shared.weight") or sites.norms(backbone, "")}
)

merged = contract.merged_it_is_as_unmerged_and_nothing_of_it_is_left
fault(merged, "it only takes out")(lambda method: {"merge": lambda backbone: backbone.take_out()})
fault(merged, "it stays where it was")(lambda method: {"merge": lambda backbone: None})
fault(merged, "it is off by a little", "lora")(
    after("merge", lambda _, backbone, __: bump(backbone, "encoder.final_layer_norm.weight"))
)

off = contract.detaching_gives_the_loaded_model_back


@fault(off, "a weight that it moved stays moved")
def moved(method):
    def change(names, backbone, config):
        bump(backbone)
        return names

    return after("attach", change)(method)


@fault(off, "a hook of its own stays")
def hooked(method):
    def change(names, backbone, config):
        backbone.model.register_forward_pre_hook(lambda module, args: None)
        return names

    return after("attach", change)(method)


def broken(name, planted):
    """Wrap a method's module with some names of it replaced."""
    sound = importlib.import_module(registry.METHODS[name])
    return Method.of(name, SimpleNamespace(**{**vars(sound), **planted}))


@pytest.fixture(autouse=True)
def _broken_backbones_are_thrown_away():
    yield
    contract.loaded.cache_clear()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_method_that_breaks_a_promise_is_caught(fault, monkeypatch):
    sound = importlib.import_module(registry.METHODS[fault.method])
    planted = broken(fault.method, fault.plant(sound))
    case = Case(fault.family, fault.method)
    monkeypatch.setattr(registry, "method", lambda name: planted)
    state = contract.reach(case, contract.PROMISES[fault.promise])
    with pytest.raises((AssertionError, MethodError, pytest.fail.Exception)):
        fault.promise(state)


def test_each_promise_has_a_method_that_breaks_it():
    assert {fault.promise for fault in FAULTS} == set(contract.PROMISES)


@pytest.mark.parametrize(
    ("method", "defaults"),
    [("lora", {"scale_parameter": True}), ("bitfit", {"scale_parameter": True}), ("ia3", {"lr": 3e-5})],
    ids=["zeros under scale_parameter", "zero biases under it", "steps a hundredth as large"],
)
def test_defaults_that_do_not_learn_are_caught(method, defaults, monkeypatch):
    planted = broken(method, {"DEFAULTS": {**registry.method(method).DEFAULTS, **defaults}})
    monkeypatch.setattr(registry, "method", lambda name: planted)
    with pytest.raises(AssertionError):
        contract.it_learns_with_its_defaults(Case("gpt2", method))
