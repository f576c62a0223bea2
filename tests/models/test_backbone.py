import pytest
import torch
from torch import nn

from peftbench.scoring.encoding import encode
from peftbench.scoring.forward import choice_log_probs
from peftbench.spec.cell import Scoring
from tests.scoring.prompts import SEPARATOR, prompts
from tests.scoring.test_score import tuned
from tests.tiny import ENCODER_DECODERS, ENCODERS, FAMILIES, INTERLEAVED, tiny_backbone

ROLES = ("q", "k", "v", "o", "ff_gate", "ff_up", "ff_out", "ff_hidden")


class Double(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.scale = nn.Parameter(torch.full((features,), 2.0))

    def forward(self, piece, x):
        return piece * self.scale


def outputs(backbone):
    end = "none" if backbone.sizes.is_encoder_only else "eos"
    encoded = encode(backbone, prompts(3, num_shots=1), Scoring(end=end, separator=SEPARATOR))
    with torch.no_grad():
        return choice_log_probs(backbone, encoded)[0]


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_sites_have_the_shapes_of_the_modules_that_they_name(family):
    backbone, outputs = tiny_backbone(family), {}
    for site in [site for role in ROLES for site in backbone.sites(role)]:
        linear = backbone.model.get_submodule(site.module)
        shape = linear.weight.shape if isinstance(linear, nn.Linear) else linear.weight.shape[::-1]
        assert site.in_features == shape[1]
        if site.side == "input":
            assert site.features == shape[1]
        else:
            left = outputs.setdefault(site.module, set(range(shape[0])))
            left ^= set(torch.arange(shape[0])[site.index].tolist())
    assert not any(outputs.values())  # where several roles share a layer, they share it out among them


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_every_layer_has_every_role_but_the_gate_where_there_is_none(family):
    backbone = tiny_backbone(family)
    num_layers = 4 if family in ENCODER_DECODERS else 2
    num_attentions = 6 if family in ENCODER_DECODERS else 2
    assert [len(backbone.sites(role)) for role in ("q", "k", "v", "o")] == [num_attentions] * 4
    assert [len(backbone.sites(role)) for role in ("ff_up", "ff_out", "ff_hidden")] == [num_layers] * 3
    assert len(backbone.sites("ff_gate")) == (
        0 if family in ("gpt2", "t5-v1.0", "opt", "bart", "bert", "roberta", "deberta-v2", *INTERLEAVED) else num_layers
    )
    assert len(backbone.attentions()) == num_attentions


@pytest.mark.parametrize(
    ("family", "up", "gate"),
    [("t5", "wi_1", "wi_0"), ("t5-v1.0", "wi", None), ("gpt2", "c_fc", None), ("llama", "up_proj", "gate_proj")],
)
def test_the_gate_is_the_branch_that_goes_through_the_activation(family, up, gate):
    backbone = tiny_backbone(family)
    names = [{site.module.rpartition(".")[2] for site in backbone.sites(role)} for role in ("ff_up", "ff_gate")]
    assert names == [{up}, {gate} if gate else set()]


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_doubling_at_a_site_is_doubling_its_weights(family):
    backbone = tiny_backbone(family)
    for role in ROLES:
        for site in backbone.sites(role):
            backbone.insert(site, "twice", Double(site.features))
        inserted = outputs(backbone)
        backbone.detach_all()
        for site in backbone.sites(role):
            scale_weights(backbone, site, 2)
        torch.testing.assert_close(inserted, outputs(backbone), rtol=1e-4, atol=1e-4, msg=role)
        backbone.detach_all()


def scale_weights(backbone, site, factor):
    backbone.keep([f"{site.module}.weight", f"{site.module}.bias"])
    linear = backbone.model.get_submodule(site.module)
    weight = linear.weight.data if isinstance(linear, nn.Linear) else linear.weight.data.T
    piece = site.index
    weight[(slice(None), piece) if site.side == "input" else piece] *= factor
    if site.side == "output" and linear.bias is not None:
        linear.bias.data[piece] *= factor


def test_several_modules_on_one_layer_compose_and_have_names_below_it():
    backbone = tiny_backbone("gpt2")
    for role in ("q", "k", "v"):
        for site in backbone.sites(role):
            backbone.insert(site, f"twice_{role}", Double(site.features))
    names = {f"transformer.h.{layer}.attn.c_attn.twice_{role}.scale" for layer in range(2) for role in "qkv"}
    assert set(backbone.parameters_named(names)) == names
    other = tiny_backbone("gpt2")
    for block in other.model.transformer.h:
        block.attn.c_attn.weight.data.mul_(2)
        block.attn.c_attn.bias.data.mul_(2)
    torch.testing.assert_close(outputs(backbone), outputs(other), rtol=1e-4, atol=1e-4)


def test_a_float32_module_works_on_a_bfloat16_backbone():
    backbone = tiny_backbone("t5")
    backbone.model.to(torch.bfloat16)
    for role in ("k", "ff_hidden"):
        for site in backbone.sites(role):
            backbone.insert(site, "twice", Double(site.features))
    assert backbone.model.encoder.block[0].layer[0].SelfAttention.k.twice.scale.dtype == torch.float32
    assert outputs(backbone).isfinite().all()


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_detaching_gives_the_backbone_back_as_it_was_loaded(family):
    backbone, fresh = tuned(family), tiny_backbone(family)
    names = list(fresh.model.state_dict())
    for site in backbone.sites("v"):
        backbone.insert(site, "twice", Double(site.features))
    backbone.train_only(name for name, _ in fresh.model.named_parameters())
    with torch.no_grad():
        for weight in backbone.model.parameters():
            weight.add_(1)
    backbone.detach_all()
    assert list(backbone.model.state_dict()) == names
    assert torch.equal(outputs(backbone), outputs(fresh))
    assert not any(weight.requires_grad for weight in backbone.model.parameters())


def test_exactly_the_named_parameters_train():
    backbone = tiny_backbone("llama")
    names = ["model.norm.weight", "model.layers.0.mlp.up_proj.weight"]
    backbone.train_only(names)
    assert sorted(name for name, weight in backbone.model.named_parameters() if weight.requires_grad) == sorted(names)


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")  # DeBERTa's, of a number
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_what_is_inserted_survives_tracing_and_the_meta_device(family):
    backbone = tuned(family)
    for site in [site for role in ("q", "k", "ff_hidden") for site in backbone.sites(role)]:
        backbone.insert(site, f"twice_{site.role}", Double(site.features))
    ids = torch.tensor([[5, 6, 7]])
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if backbone.is_encoder_decoder else {})
    model = backbone.model
    expected = model(**inputs, use_cache=False).logits

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, ids):
            return self.model(**dict.fromkeys(inputs, ids), use_cache=False).logits

    traced = torch.jit.trace(Logits(), (ids,), check_trace=False)
    torch.testing.assert_close(traced(ids), expected)
    model.to("meta")
    ids = {name: value.to("meta") for name, value in inputs.items()}
    mask = {} if backbone.is_encoder_decoder else {"attention_mask": torch.zeros(1, 1, 3, 3, device="meta")}
    if family == "deberta-v2":  # it takes no mask of four dimensions
        mask["attention_mask"] = torch.ones(1, 3, device="meta")
    if family == "opt":  # it counts positions off a mask of two dimensions
        mask["position_ids"] = torch.arange(3, device="meta")[None]
    assert model(**ids, **mask, use_cache=False).logits.shape == expected.shape
