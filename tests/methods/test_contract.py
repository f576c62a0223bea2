"""What every method promises, over the registry and all families: to register a method is to put it under test."""

import re
from itertools import product

import pytest

from peftbench import registry
from peftbench.spec.cell import Training
from tests.methods.contract import Case, check, it_learns_with_its_defaults, walk
from tests.tiny import FAMILIES

# Mistral is Llama's file with a window, and Qwen 2 has one. Gemma 3 has all that is Gemma's, and what is Gemma 2's but
# for its capped scores.
OVER = [family for family in FAMILIES if family not in ("mistral", "gemma", "gemma2")]
# Settings that make another method of it. They change what stands at a place, not how places are found: one family
# with an encoder and a gate, one with fused and biased layers, one with norms of heads.
SOME = ("t5", "gpt2", "qwen3")
VARIANTS = {
    "bitfit": [{"layer_norms": True}],
    "ia3": [{"places": "all"}],
    "lora": [{"layer_norms": True}],
    "p_tuning": [{"encoder": "mlp", "hidden_size": 3}, {"encoder": "embedding"}],
    "prefix_tuning": [{"reparameterize": True, "hidden_size": 5}],
    "prompt_tuning": [{"init": "labels"}],
    "compacter": [{"shared_phm_rule": False, "phm_rank": 2, "reduction_factor": 2}],
    "bottleneck": [{"placement": "pfeiffer", "drop_layers": 1}],
    "diff_pruning": [{"target_ratio": 0.1}],
}
# Defaults for models of millions: here as many numbers would be half of the model.
SMALL = {"intrinsic_said": {"intrinsic_dimension": 40}, "intrinsic_dimension": {"intrinsic_dimension": 40}}
# Masked models; roberta is bert's file with other names. What a method makes of fused layers is what it does elsewhere.
MASKED = ("bert", "deberta-v2")
FUSED = ("ia3", "lora", "prefix_tuning", "p_tuning", "bitfit", "layernorm", "top_layers", "full")
CASES = [
    Case(family, name, tuple(SMALL.get(name, {}).items()))
    for family, name in product((*OVER, *MASKED), registry.METHODS)
]
CASES += [Case("modernbert", name) for name in FUSED] + [Case("roberta", "lora")]
CASES += [
    Case(family, name, tuple(settings.items()))
    for family, (name, variants) in product(SOME, VARIANTS.items())
    for settings in variants
]
CASES.append(Case("phi3", "ia3", (("places", "all"),)))  # gate and up share what goes in


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_method_keeps_its_promises(case, subtests):
    for promise, state in walk(case):
        check(promise, state, subtests)


# What is cut to half a percent of a tiny model has hardly a weight left to learn with: it may keep more.
ROOM = {"diff_pruning": {"target_ratio": 0.1}, **SMALL}
LEARNERS = [Case(family, name, tuple(ROOM.get(name, {}).items())) for family in SOME[:2] for name in registry.METHODS]


@pytest.mark.parametrize("case", LEARNERS, ids=str)
def test_with_its_defaults_it_learns(case):
    it_learns_with_its_defaults(case)


@pytest.mark.parametrize("name", registry.METHODS)
def test_the_module_says_what_it_is_and_its_defaults_are_training_settings(name):
    method = registry.method(name)
    assert re.match(r"\d{4}\.\d{5}", method.PAPER)
    assert method.PAPER[:10] in method.__doc__
    Training(**method.DEFAULTS)
