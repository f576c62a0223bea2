from types import SimpleNamespace

import peft
import pytest
import torch
from peft.tuners.adalora.layer import RankAllocator
from pydantic import ValidationError

from peftbench.methods import adalora
from tests.methods.published import T0_3B
from tests.tiny import tiny_backbone

LINEARS = {
    "t5": ["q", "k", "v", "o", "wi_0", "wi_1", "wo"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}


def pair(family, rank, alpha):
    """Give our backbone and peft's model with the same random weights."""
    ours, theirs = tiny_backbone(family), tiny_backbone(family).model
    names = adalora.attach(ours, adalora.Config(init_rank=rank, target_rank=1, alpha=alpha))
    config = peft.AdaLoraConfig(
        init_r=rank, target_r=1, lora_alpha=alpha, lora_dropout=0.0, target_modules=LINEARS[family],
        tinit=10, tfinal=30, deltaT=10, total_step=100,
    )  # fmt: skip
    reference, generator = peft.get_peft_model(theirs, config).eval(), torch.Generator().manual_seed(0)
    letters = {"P": "B", "Lambda": "E", "Q": "A"}
    for name, matrix in ours.parameters_named(names).items():
        matrix.data = 0.3 * torch.randn(matrix.shape, generator=generator)
        linear, _, part = name.rsplit(".", 2)
        slot = getattr(theirs.get_submodule(linear), f"lora_{letters[part]}")["default"]
        slot.data = matrix.detach().clone().reshape(slot.shape)
    return ours, reference


@pytest.mark.parametrize("family", LINEARS)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers
def test_outputs_equal_those_of_peft(family):
    ours, reference = pair(family, rank=3, alpha=5)
    inputs = {"input_ids": torch.arange(3, 33).view(2, 15)}
    if ours.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.arange(40, 52).view(2, 6)
    with torch.no_grad():  # peft divides by rank + 1e-5
        torch.testing.assert_close(ours.model(**inputs).logits, reference(**inputs).logits, atol=1e-4, rtol=1e-4)


def test_the_budget_falls_as_pefts_does():
    config = adalora.Config(init_rank=6, target_rank=2, t_i=0.1, t_f=0.3)
    allocator = RankAllocator.__new__(RankAllocator)
    allocator.init_bgt, allocator.target_bgt = 600, 200
    allocator.peft_config = SimpleNamespace(tinit=10, tfinal=30, total_step=100, deltaT=10)
    for step in range(1, 101):
        ours = config.rank_budget(step, 100)
        assert abs(100 * ours - allocator.budget_schedule(step)[0]) <= 1


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers
def test_importance_and_what_is_cut_are_pefts():
    ours, reference = pair("llama", rank=3, alpha=5)
    allocator = reference.base_model.rankallocator
    config = adalora.Config(init_rank=3, target_rank=1, alpha=5)
    for start in (3, 50):
        ids = torch.arange(start, start + 12)[None]
        for model in (ours.model, reference):
            model.zero_grad()
            model(ids, labels=ids).loss.backward() if model is ours.model else model.base_model.model(
                ids, labels=ids
            ).loss.backward()
        adalora.before_step(ours, config, 0, 100)
        allocator.update_ipt(reference.base_model.model)
    adalora.after_step(ours, config, 99, 100)
    allocator.mask_to_budget(reference.base_model.model, 14)
    kept = {}
    for name, value in reference.named_parameters():
        if "lora_E" in name:
            kept[name.split(".lora_E")[0].removeprefix("base_model.model.")] = (value.flatten() != 0).tolist()
    for site, svd in adalora._attached(ours):
        assert (svd.Lambda != 0).tolist() == kept[site.module]


def test_the_penalty_is_the_mean_distance_of_all_factors_from_orthogonal():
    backbone = tiny_backbone("t5")
    config = adalora.Config(orth_reg_weight=0.3)
    names = adalora.attach(backbone, config)
    factors = [one.T if name.endswith("P") else one for name, one in backbone.parameters_named(names).items()]
    factors = [one for one in factors if one.dim() == 2]
    distances = [torch.linalg.matrix_norm(one @ one.T - torch.eye(len(one))) for one in factors]
    torch.testing.assert_close(adalora.penalty(backbone, config), 0.3 * torch.stack(distances).mean())


def test_between_two_cuts_no_value_is_set_to_zero():
    backbone = tiny_backbone("llama")
    config = adalora.Config(init_rank=3, target_rank=1, interval=10)
    parameters = backbone.parameters_named(adalora.attach(backbone, config)).values()
    for step in range(30, 40):
        for parameter in parameters:
            parameter.data, parameter.grad = torch.randn_like(parameter), torch.randn_like(parameter)
        adalora.before_step(backbone, config, step, 100)
        adalora.after_step(backbone, config, step, 100)
        was_cut = any((svd.Lambda == 0).any() for _, svd in adalora._attached(backbone))
        assert was_cut == (step == 39)


def test_in_the_last_steps_the_same_values_are_kept_whatever_the_gradients_say():
    """As in the paper, section 3.3: the budget's distribution is fixed for the last t_f steps."""
    backbone = tiny_backbone("llama")
    config = adalora.Config(init_rank=3, target_rank=1, t_f=0.3)
    parameters = backbone.parameters_named(adalora.attach(backbone, config)).values()
    kept = []
    for step in range(60, 80):
        for parameter in parameters:
            parameter.data = torch.randn_like(parameter)
            parameter.grad = torch.randn_like(parameter)
        adalora.before_step(backbone, config, step, 100)
        adalora.after_step(backbone, config, step, 100)
        kept.append(torch.cat([svd.Lambda != 0 for _, svd in adalora._attached(backbone)]))
    assert int(kept[-1].sum()) == len(kept[-1]) // 3
    assert all(torch.equal(some, kept[-1]) for some in kept[9:])


def test_when_it_finishes_only_the_kept_values_are_left():
    backbone = tiny_backbone("llama")
    adalora.attach(backbone, adalora.Config())
    (_, first), *_ = adalora._attached(backbone)
    first.Lambda.data = torch.tensor([0.0, 1.0, 0.0, 2.0, 0.0, 0.0])
    update = first.update()
    adalora.finish(backbone, adalora.Config())
    assert first.P.shape == (24, 2)
    torch.testing.assert_close(first.update(), update)


def test_the_count_is_loras_and_a_value_for_each_rank():
    per_layer = 2 * (2048 + 2048) * 6 + 2 * 6  # q and k of one block
    assert (
        per_layer * 72
        < adalora.added(T0_3B, adalora.Config()).num_parameters
        == 6 * (9_097_216 - 122 * 2048) // 4 + (6 * (72 * 4 + 48 * 3))
    )


@pytest.mark.parametrize("wrong", [{"init_rank": 2, "target_rank": 3}, {"t_i": 0.6, "t_f": 0.4}, {"interval": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        adalora.Config(**wrong)
