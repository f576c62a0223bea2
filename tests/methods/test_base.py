"""A method's module is wrapped once, and what it offers wrongly is named then."""

import importlib
from types import SimpleNamespace

import pytest

from peftbench import registry
from peftbench.methods.base import PARAMETERS, Method
from tests.tiny import tiny_backbone

IA3 = vars(importlib.import_module(registry.METHODS["ia3"]))


def wrapped(**changes):
    return Method.of("own", SimpleNamespace(**{**IA3, **changes}))


def test_hooks_that_a_module_leaves_out_have_defaults():
    method, backbone = wrapped(), tiny_backbone("t5")
    config = method.Config()
    assert method.penalty(backbone, config) is None
    assert method.finish(backbone, config) is None
    assert method.added_finished(backbone.sizes, config, {}) == method.added(backbone.sizes, config)
    assert method.resume_config(config) is config
    names = method.restore(backbone, config, {})
    assert {*names} == {name for name, _ in backbone.model.named_parameters() if ".l_" in name}
    assert not method.prunes


def test_a_module_without_what_it_must_offer_is_named():
    offered = {key: value for key, value in IA3.items() if key not in ("added", "DEAD")}
    with pytest.raises(TypeError, match="method 'own' lacks DEAD, added"):
        Method.of("own", SimpleNamespace(**offered))


@pytest.mark.parametrize("hook", PARAMETERS)
def test_a_function_with_other_parameters_is_named(hook):
    with pytest.raises(TypeError, match=rf"method 'own': {hook} takes \(config, wrong\), not \({PARAMETERS[hook][0]}"):
        wrapped(**{hook: lambda config, wrong: None})


def test_a_misspelt_hook_is_named():
    def before_stp(backbone, config, step, num_steps):
        pass

    before_stp.__module__ = IA3["__name__"]
    with pytest.raises(TypeError, match="method 'own': before_stp is no hook; hooks: attach, added"):
        wrapped(before_stp=before_stp)


def test_only_a_method_that_counts_anew_what_is_left_prunes():
    assert [name for name in registry.METHODS if registry.method(name).prunes] == ["adalora"]


def test_no_hook_is_looked_for_by_name():
    """Callers ask a `Method`, whose hooks have defaults: a probe for a name would not be checked by mypy."""
    sources = {path: path.read_text() for path in registry.PACKAGE.rglob("*.py")}
    hooks = [f'"{hook}"' for hook in PARAMETERS]
    probes = [
        path
        for path, text in sources.items()
        for line in text.splitlines()
        if ("hasattr(" in line or "getattr(" in line) and any(hook in line for hook in hooks)
    ]
    assert not probes
