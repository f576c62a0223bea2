import peft
import pytest
import torch

from peftbench.methods import ia3
from tests.methods.published import T0_3B, T0_11B, t0_3b_without_weights
from tests.tiny import tiny_backbone


@pytest.mark.parametrize(("sizes", "published"), [(T0_3B, 540_672), (T0_11B, 1_081_344)])
def test_the_published_models_have_the_published_number_of_parameters(sizes, published):
    assert ia3.added(sizes, ia3.Config()).num_parameters == published


def test_names_and_shapes_on_t0_3b_are_those_of_the_authors_checkpoint():
    backbone = t0_3b_without_weights()
    parameters = backbone.parameters_named(ia3.attach(backbone, ia3.Config()))
    assert {authors_name(name): (*value.shape, 1) for name, value in parameters.items()} == authors_checkpoint()


def authors_name(name):
    """Ours -> theirs: l_ff sits on the input of wo here, on the output of wi_1 there."""
    linear, vector, _ = name.rsplit(".", 2)
    return f"{linear.removesuffix('.wo') + '.wi_1' if vector == 'l_ff' else linear}.multi_lora_b"


def authors_checkpoint():
    """List what t03b_ia3_finish.pt holds: 3 vectors per encoder block, 5 per decoder block, 192 in all."""
    blocks = {
        "encoder": {"0.SelfAttention": "kv", "1.DenseReluDense": ["wi_1"]},
        "decoder": {"0.SelfAttention": "kv", "1.EncDecAttention": "kv", "2.DenseReluDense": ["wi_1"]},
    }
    shapes = {
        f"{stack}.block.{block}.layer.{layer}.{linear}.multi_lora_b": (5120 if linear == "wi_1" else 2048, 1)
        for stack, layers in blocks.items()
        for block in range(24)
        for layer, linears in layers.items()
        for linear in linears
    }
    assert len(shapes) == 192
    return shapes


LAYERS = dict.fromkeys(("t5", "t5-v1.0"), ("k", "v", "wo"))
LAYERS |= dict.fromkeys(("bart", "opt"), ("k_proj", "v_proj", "fc2"))


@pytest.mark.parametrize("family", [*LAYERS, "llama", "qwen2"])
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks transformers
def test_outputs_equal_those_of_peft(family):
    ours, theirs = tiny_backbone(family), tiny_backbone(family).model
    names = ia3.attach(ours, ia3.Config())
    k, v, out = LAYERS.get(family, ("k_proj", "v_proj", "down_proj"))
    config = peft.IA3Config(target_modules=[k, v, out], feedforward_modules=[out])
    reference, generator = peft.get_peft_model(theirs, config).eval(), torch.Generator().manual_seed(0)
    assert sum(".ia3_l." in name for name, _ in reference.named_parameters()) == len(names)
    for name, vector in ours.parameters_named(names).items():
        vector.data = 1 + 0.3 * torch.randn(vector.shape, generator=generator)
        linear = name.rsplit(".", 2)[0]
        slot = theirs.get_submodule(linear).ia3_l["default"]
        slot.data = vector.detach().reshape(slot.shape)
    inputs = {"input_ids": torch.arange(3, 33).view(2, 15)}
    if ours.is_encoder_decoder:
        inputs["decoder_input_ids"] = torch.arange(40, 52).view(2, 6)
    with torch.no_grad():
        expected, bare = reference(**inputs).logits, tiny_backbone(family).model(**inputs).logits
        torch.testing.assert_close(ours.model(**inputs).logits, expected, atol=1e-6, rtol=1e-5)
    assert (expected - bare).abs().max() > 1e-2


def test_merging_into_gpt2_scales_the_bias_with_the_keys_and_leaves_the_queries():
    backbone = tiny_backbone("gpt2")
    names = ia3.attach(backbone, ia3.Config())
    fused = backbone.model.get_submodule("transformer.h.0.attn.c_attn")
    with torch.no_grad():
        fused.bias.fill_(1.0)
        for vector in backbone.parameters_named(names).values():
            vector.fill_(3.0)
    before = fused.weight.clone()
    ia3.merge(backbone)
    assert fused.bias.tolist() == [1.0] * 16 + [3.0] * 32
    assert torch.equal(fused.weight[:, :16], before[:, :16])
    assert torch.equal(fused.weight[:, 16:], 3 * before[:, 16:])


def test_all_seven_places_in_and_out_have_the_parameters_of_the_authors_variant():
    assert ia3.added(T0_3B, ia3.Config(places="all")).num_parameters == 2_211_840


def test_in_and_out_vectors_are_columns_and_rows_of_the_weights():
    ours, plain = tiny_backbone("t5"), tiny_backbone("t5").model
    names = ia3.attach(ours, ia3.Config(places="all"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, vector in ours.parameters_named(names).items():
            vector.copy_(1 + 0.3 * torch.randn(vector.shape, generator=generator))
            linear, where, _ = name.rsplit(".", 2)
            weight = plain.get_submodule(linear).weight
            weight.mul_(vector if where == "l_in" else vector[:, None])
        inputs = {"input_ids": torch.arange(3, 33).view(2, 15), "decoder_input_ids": torch.arange(40, 52).view(2, 6)}
        torch.testing.assert_close(ours.model(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-5)
