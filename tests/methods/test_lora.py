import peft
import pytest
import torch
from pydantic import ValidationError

from peftbench.errors import MethodError
from peftbench.methods import lora
from tests.methods.published import T0_3B, T0_11B
from tests.tiny import ENCODER_DECODERS, tiny_backbone

LINEARS = {
    "t5": ["q", "k", "v", "o", "wi_0", "wi_1", "wo"],
    "t5-v1.0": ["q", "k", "v", "o", "wi", "wo"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "bart": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    "mistral": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}


def test_all_layers_of_t0_3b_have_the_parameters_of_the_papers_baseline_without_its_layer_norms():
    assert lora.added(T0_3B, lora.Config(rank=4)).num_parameters == 9_097_216 - 122 * 2048


@pytest.mark.parametrize(("sizes", "published"), [(T0_3B, 9_097_216), (T0_11B, 18_194_432)])
def test_with_layer_norms_the_published_models_have_the_published_number_of_parameters(sizes, published):
    assert lora.added(sizes, lora.Config(rank=4, layer_norms=True)).num_parameters == published


@pytest.mark.parametrize("family", LINEARS)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers
def test_outputs_equal_those_of_peft(family):
    ours, theirs = tiny_backbone(family), tiny_backbone(family).model
    names = lora.attach(ours, lora.Config(rank=3, alpha=5.0))
    config = peft.LoraConfig(r=3, lora_alpha=5, lora_dropout=0.0, target_modules=LINEARS[family])
    reference, generator = peft.get_peft_model(theirs, config).eval(), torch.Generator().manual_seed(0)
    assert sum(".lora_" in name for name, _ in reference.named_parameters()) == len(names)
    for name, matrix in ours.parameters_named(names).items():
        matrix.data = 0.3 * torch.randn(matrix.shape, generator=generator)
        linear, _, letter = name.rsplit(".", 2)
        getattr(theirs.get_submodule(linear), f"lora_{letter}")["default"].weight.data = matrix.detach().clone()
    inputs = {"input_ids": torch.arange(3, 33).view(2, 15)}
    if family in ENCODER_DECODERS:
        inputs["decoder_input_ids"] = torch.arange(40, 52).view(2, 6)
    with torch.no_grad():
        expected, bare = reference(**inputs).logits, tiny_backbone(family).model(**inputs).logits
        torch.testing.assert_close(ours.model(**inputs).logits, expected, atol=2e-6, rtol=1e-5)
    assert (expected - bare).abs().max() > 1e-2


def test_roles_choose_the_layers_and_are_written_alike_in_toml_and_on_the_command_line():
    backbone = tiny_backbone("gpt2")
    config = lora.Config(roles="q,v")
    assert config == lora.Config(roles=["q", "v"]) == lora.Config(roles="q,v,q")
    names = lora.attach(backbone, config)
    assert {name.split(".")[-2] for name in names} == {"lora_q", "lora_v"}
    count = sum(parameter.numel() for parameter in backbone.parameters_named(names).values())
    assert count == lora.added(backbone.sizes, config).num_parameters == 2 * 2 * 4 * (16 + 16)


def test_a_gate_asked_for_by_name_is_missed_where_there_is_none():
    with pytest.raises(MethodError, match="'ff_gate'") as error:
        lora.attach(tiny_backbone("t5-v1.0"), lora.Config(roles=("ff_gate",)))
    assert error.value.hint == "roles that it has: q, k, v, o, ff_up, ff_out, ff_hidden, norm"


def test_a_rank_above_a_layers_own_is_refused():
    with pytest.raises(MethodError, match="rank = 17 is more than a layer of the role 'q' can have") as error:
        lora.attach(tiny_backbone("t5"), lora.Config(rank=17))
    assert error.value.hint == "at most 16"


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0}, {"roles": "q,query"}, {"roles": []}, {"r": 4}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        lora.Config(**wrong)


def test_the_update_is_alpha_over_rank_times_b_a():
    module = lora.LowRank(in_features=2, features=1, rank=2, scale=6 / 2)
    module.A.data, module.B.data = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[1.0, -1.0]])
    y, x = torch.tensor([[10.0]]), torch.tensor([[1.0, 1.0]])
    assert module(y, x).tolist() == [[10.0 + 3 * (3.0 - 1.0)]]
    assert module.update().tolist() == [[3.0, 3.0]]
