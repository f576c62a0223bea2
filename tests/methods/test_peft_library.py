"""Methods of the peft library as methods here: what they owe is what ours owe, but for closed forms."""

import sys

import peft
import pytest
import torch
from pydantic import ValidationError

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.methods import peft_library
from tests.methods import contract
from tests.methods.contract import Case
from tests.tiny import tiny_backbone

UNCLAIMED = {
    contract.a_role_that_matches_nothing_is_an_error_and_leaves_nothing_half_attached,  # peft looks for names
    contract.untrained_it_leaves_the_model_as_it_was_exactly_if_it_says_so,
    contract.all_that_came_in_is_returned_and_nothing_twice,  # the model's own names change while layers are wrapped
    contract.the_declared_sizes_are_what_is_there,
    contract.the_declared_places_are_where_something_stands,
    contract.the_lowest_adapted_layer_is_where_the_gradient_ends,
    contract.below_the_lowest_adapted_layer_nothing_is_run_with_each_step,
    contract.the_declared_matmuls_are_the_flops_that_come_on_top,
    contract.the_declared_bytes_are_those_of_the_tensors_that_are_saved,
}
# Settings that fit models this small.
SMALL = {"FOURIERFT": {"n_frequency": 20}, "SHIRA": {"r": 2}, "ROAD": {"group_size": 8}}
CASES = [
    Case(family, f"peft:{name}", tuple(SMALL.get(name, {}).items()))
    for family, names in {
        "t5": ("IA3", "LORA", "VERA", "OFT", "LN_TUNING", "ROAD", "FOURIERFT", "SHIRA", "OSF", "BOFT"),
        "gpt2": ("LORA", "VERA", "LN_TUNING"),
        "llama": ("HRA", "RANDLORA"),
    }.items()
    for name in names
]
CASES.append(Case("gpt2", "peft:LORA", (("bias", "all"),)))  # trains the model's own biases


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.filterwarnings("ignore")  # peft's advice
def test_a_method_of_peft_keeps_the_promises_that_ask_for_no_closed_form(case, subtests):
    for promise, state in contract.walk(case):
        if promise not in UNCLAIMED:
            contract.check(promise, state, subtests)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_what_is_attached_is_what_pefts_own_model_trains_and_gives():
    backbone, plain = tiny_backbone("t5"), tiny_backbone("t5").model
    method = registry.method("peft:IA3")
    names = method.attach(backbone, method.Config())
    reference = peft.get_peft_model(plain, peft.IA3Config(task_type="SEQ_2_SEQ_LM")).eval()
    theirs = {name.removeprefix("base_model.model."): p for name, p in reference.named_parameters() if p.requires_grad}
    assert names == list(theirs)
    generator = torch.Generator().manual_seed(0)
    inputs = {"input_ids": torch.arange(3, 33).view(2, 15), "decoder_input_ids": torch.arange(40, 52).view(2, 6)}
    with torch.no_grad():
        for name, vector in backbone.parameters_named(names).items():
            vector.copy_(1 + 0.3 * torch.randn(vector.shape, generator=generator))
            theirs[name].copy_(vector)
        torch.testing.assert_close(backbone.model(**inputs).logits, reference(**inputs).logits, atol=1e-6, rtol=1e-5)


def test_settings_are_pefts_fields_with_its_defaults_and_lists_may_be_written_with_commas():
    config = registry.method("peft:LORA").Config(target_modules="q,v", r=2)
    assert (config.target_modules, config.r, config.lora_alpha) == (["q", "v"], 2, peft.LoraConfig().lora_alpha)
    assert registry.method("peft:LORA").Config(target_modules="all-linear").target_modules == "all-linear"
    for wrong in ({"rank": 4}, {"r": "many"}, {"task_type": "CAUSAL_LM"}):
        with pytest.raises(ValidationError):
            registry.method("peft:LORA").Config(**wrong)


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("peft:ia3", "unknown method 'peft:ia3'", "did you mean 'peft:IA3'?"),
        ("peft:NOPE", "unknown method 'peft:NOPE'", "of peft: "),
        ("peft:PREFIX_TUNING", "prompt learning needs peft's own forward pass", "--method prefix_tuning; "),
        ("peft:ADALORA", "peft's own training loop", "--method adalora; "),
        ("peft:XLORA", "adapters that are there already", "of peft: "),
    ],
)
def test_a_name_that_cannot_be_run_is_met_with_what_can(name, message, hint):
    with pytest.raises(MethodError, match=message) as error:
        registry.method(name)
    assert error.value.hint.startswith(hint)


@pytest.mark.parametrize(
    ("family", "name", "settings", "message"),
    [
        ("t5", "LORA", {"r": 0}, "`r` should be a positive integer"),
        ("t5", "LORA", {"target_modules": "zz"}, "Target modules {'zz'} not found"),
        ("t5", "LORA", {"init_lora_weights": "pissa"}, "rewrite the model's own weights"),
        ("t5", "TRAINABLE_TOKENS", {}, "token_indices names no token"),
        ("gpt2", "OFT", {}, "Conv1D"),
        ("gpt2", "BEFT", {}, "Please specify `target_modules`"),
        ("t5", "FOURIERFT", {}, "n_frequency"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # peft's advice
def test_what_the_model_lacks_is_one_line_and_leaves_nothing_behind(family, name, settings, message):
    backbone, method = tiny_backbone(family), registry.method(f"peft:{name}")
    with pytest.raises(MethodError, match=f"peft:{name} does not fit .*{message}") as error:
        method.attach(backbone, method.Config(**settings))
    assert "\n" not in error.value.message
    assert contract.what_is_there(backbone) == contract.what_is_there(contract.fresh(family))


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft.config", None)
    with pytest.raises(MethodError, match="needs the peft library") as error:
        peft_library.method.__wrapped__("IA3")
    assert error.value.hint == "pip install 'peftbench[peft]'"
