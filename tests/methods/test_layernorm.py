import peft
import pytest
import torch

from peftbench.methods import layernorm
from tests.methods.published import T0_3B, T0_11B
from tests.tiny import ENCODERS, FAMILIES, tiny_backbone

# Of masked models, which have a norm of their own, and of DeBERTa's table of distances.
HEADS = ("cls.", "lm_head.", "head.", "deberta.encoder.LayerNorm")


@pytest.mark.parametrize(("sizes", "published"), [(T0_3B, 249_856), (T0_11B, 499_712)])
def test_the_published_models_have_the_published_number_of_parameters(sizes, published):
    assert layernorm.added(sizes, layernorm.Config()).num_parameters == published


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_what_is_freed_are_all_parameters_of_all_modules_that_are_norms_behind_the_embeddings(family):
    backbone = tiny_backbone(family)
    norms = {
        f"{name}.{leaf}"
        for name, module in backbone.model.named_modules()
        if "Norm" in type(module).__name__ and "embedding" not in name and not name.startswith(HEADS)
        for leaf, _ in module.named_parameters()
    }
    assert set(layernorm.attach(backbone, layernorm.Config())) == norms


@pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")  # peft knows nn.LayerNorm only
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers
def test_outputs_equal_those_of_peft():
    ours, theirs = tiny_backbone("llama"), tiny_backbone("llama").model
    names = layernorm.attach(ours, layernorm.Config())
    modules = ["input_layernorm", "post_attention_layernorm", "norm"]
    reference = peft.get_peft_model(theirs, peft.LNTuningConfig(target_modules=modules, task_type="CAUSAL_LM")).eval()
    trained = {name: value for name, value in reference.named_parameters() if value.requires_grad}
    assert len(trained) == len(names)
    generator = torch.Generator().manual_seed(0)
    for name, gamma in ours.parameters_named(names).items():
        gamma.data = torch.rand(gamma.shape, generator=generator)
        (slot,) = [value for full, value in trained.items() if f".{name.removesuffix('.weight')}." in f".{full}"]
        slot.data = gamma.detach().clone()
    ids = torch.arange(3, 33).view(2, 15)
    with torch.no_grad():
        torch.testing.assert_close(ours.model(ids).logits, reference(ids).logits, atol=1e-6, rtol=1e-5)
