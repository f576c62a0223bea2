"""`counted` = `traced`, to the last unit: the closed form against two witnesses that share no code with it."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, GPT2Config, T5Config, T5ForConditionalGeneration

from peftbench import costs, registry
from peftbench.costs.count import Query, forward_flops
from peftbench.costs.graph import graph_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.costs.published import SHAPES
from peftbench.methods.stages import Stages
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs
from tests.tiny import ENCODER_DECODERS, ENCODERS, FAMILIES

FOUR = ("t5", "t5-v1.0", "gpt2", "llama")  # the other families' matmuls are llama's
FIVE = (*FOUR, "bart")  # whose decoder is fed a token more


class Plain(nn.Module):
    """The model as transformers calls it, one row; of a decoder-only model the last `keep` positions pass the head."""

    def __init__(self, model, keep=None):
        super().__init__()
        self.model, self.keep = model, keep

    def forward(self, ids, mask, decoder_ids, decoder_mask):
        if self.keep is None:
            call = {"decoder_input_ids": decoder_ids, "decoder_attention_mask": decoder_mask}
        else:
            call = {"logits_to_keep": self.keep}
        if self.model.config.model_type == "opt":  # it counts positions off a mask of two dimensions
            call["position_ids"] = torch.arange(ids.shape[1], device=ids.device)[None]
        return self.model(input_ids=ids, attention_mask=mask, use_cache=False, **call).logits


class Choices(nn.Module):
    """One prompt with its choices, as it is trained and scored."""

    def __init__(self, backbone, context, choices):
        super().__init__()
        self.model, self.backbone = backbone.model, backbone
        tokens = tuple(tuple(range(3 + index, 3 + index + length)) for index, length in enumerate(choices))
        self.encoded = Encoded(tuple(range(3, 3 + context)), tokens, (0,) * len(choices))

    def forward(self, _=None):
        return choice_log_probs(self.backbone, [self.encoded], is_shared=False)[0]


def inputs(context, fed, *, is_encoder_decoder, device="cpu"):
    """Token ids, explicit 4-D masks that let everything through, and decoder ids: values do not change FLOPs."""
    length = context if is_encoder_decoder else context + fed
    ids, decoder_ids = (torch.ones(1, tokens, dtype=torch.long, device=device) for tokens in (length, fed))
    mask, decoder_mask = (torch.zeros(1, 1, 1, tokens, device=device) for tokens in (length, fed))
    return ids, mask, decoder_ids, decoder_mask


def ran(module, *arguments):
    with torch.no_grad():
        return kernel_flops(lambda: module(*arguments))


def traced(module, *arguments):
    """Both witnesses; they must agree."""
    kernels = ran(module, *arguments)
    assert graph_flops(module, *arguments) == kernels
    return kernels


@pytest.mark.parametrize(
    ("family", "attention"),
    [*((family, "peftbench") for family in FAMILIES), *itertools.product(("t5", "gpt2", "llama"), ("eager", "sdpa"))],
)
def test_plain_forward(family, attention, backbone_of):
    backbone = backbone_of(family)
    backbone.model.set_attn_implementation(attention)
    for shots, context, fed in ((0, 1, 1), (20, 7, 3)):
        keep = None if backbone.is_encoder_decoder else fed + 1
        arguments = inputs(shots + context, fed, is_encoder_decoder=backbone.is_encoder_decoder)
        expected = forward_flops(backbone.sizes, Query(shots, context, (fed,)))
        if backbone.is_encoder_decoder:  # here the first of two start tokens passes the head as well
            expected += 2 * backbone.sizes.num_fed_more * backbone.sizes.d_model * backbone.sizes.vocab_size
        assert traced(Plain(backbone.model, keep), *arguments) == expected


@pytest.mark.parametrize("family", [*FIVE, *ENCODERS])
@pytest.mark.parametrize("choices", [(1,), (1, 1, 1), (4, 4)])
def test_choices_share_the_query(family, choices, backbone_of):
    backbone = backbone_of(family)
    expected = forward_flops(backbone.sizes, query(backbone, choices))
    assert traced(Choices(backbone, 9, choices), torch.zeros(1)) == expected


@pytest.mark.parametrize("family", [family for family in FIVE if family not in ENCODER_DECODERS])
def test_choices_of_different_lengths_in_one_sequence(family, backbone_of):
    backbone, choices = backbone_of(family), (1, 5, 2)
    expected = forward_flops(backbone.sizes, query(backbone, choices))
    assert traced(Choices(backbone, 9, choices), torch.zeros(1)) == expected


@pytest.mark.parametrize("family", FOUR)
@pytest.mark.parametrize("name", registry.METHODS)
def test_every_method_by_the_ops_that_it_declares(family, name, backbone_of):
    """By the kernels that ran; tests/costs/test_verify.py has the graph of each method."""
    backbone, method = backbone_of(family), registry.method(name)
    module, lengths = Choices(backbone, 9, (3, 3)), query(backbone, (3, 3))
    added = method.added(backbone.sizes, method.Config())
    names = method.attach(backbone, method.Config())
    with torch.no_grad():  # what is exactly zero may be left out in the end
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(0.02)
    Stages(method, backbone, method.Config(), names).finish()
    assert ran(module, torch.zeros(1)) == forward_flops(backbone.sizes, lengths, added, merged=False)
    if method.merge is not None:
        method.merge(backbone)
        assert ran(module, torch.zeros(1)) == forward_flops(backbone.sizes, lengths, added)


def query(backbone, choices):
    """A decoder-only model is not fed a choice's last token, BART's decoder a second start token."""
    return Query(0, 9, tuple(length + backbone.sizes.num_fed_more for length in choices))


def of_depth(sizes, num_layers):
    """The same widths in so many layers per stack."""
    encoder = min(sizes.num_encoder_layers, num_layers)  # 0 where there is none
    return dataclasses.replace(sizes, num_encoder_layers=encoder, num_decoder_layers=num_layers)


def each_layer_costs_the_same(sizes, query):
    one, two, all_of_them = (
        forward_flops(of_depth(sizes, layers), query) for layers in (1, 2, sizes.num_decoder_layers)
    )
    return all_of_them - one == (sizes.num_decoder_layers - 1) * (two - one)


def test_t0_11b_without_weights():
    """Two of its layers, whose graph is read in a tenth of the time: each costs the same."""
    sizes, query = SHAPES["t0-11b"].sizes, Query(0, 103, (4,))
    config = T5Config(
        vocab_size=32_128, d_model=4096, d_kv=64, d_ff=10_240, num_layers=2, num_heads=64,
        feed_forward_proj="gated-gelu", attn_implementation="sdpa",
    )  # fmt: skip
    with torch.device("meta"):
        model = T5ForConditionalGeneration(config).eval()
    arguments = inputs(103, 4, is_encoder_decoder=True, device="meta")
    assert traced(Plain(model), *arguments) == forward_flops(of_depth(sizes, 2), query)
    assert each_layer_costs_the_same(sizes, query)


def test_gpt3_6_7b_without_weights():
    sizes, query = SHAPES["gpt3-6.7b"].sizes, Query(4018, 99, (4,))
    config = GPT2Config(n_embd=4096, n_layer=2, n_head=32, n_positions=2048, attn_implementation="sdpa")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config).eval()
    arguments = inputs(4018 + 99, 4, is_encoder_decoder=False, device="meta")
    assert traced(Plain(model, 5), *arguments) == forward_flops(of_depth(sizes, 2), query)
    assert each_layer_costs_the_same(sizes, query)


@pytest.mark.parametrize("name", ["t5", "gpt2"])
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_torchs_own_counter_says_the_same_of_a_step(name, backbone_of):
    backbone = backbone_of(name)
    backbone.train_only(backbone.base_names)
    module = Choices(backbone, 9, (3, 3))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module().sum().backward()
    assert kernel_flops(lambda: module().sum().backward()) == counter.get_total_flops() > 0


def test_composite_operators_are_taken_apart_where_autograd_does_not():
    layer, x = nn.Linear(4, 5), torch.ones(3, 4)
    with torch.inference_mode():
        assert kernel_flops(lambda: layer(x)) == 2 * 3 * 4 * 5


def test_the_backward_pass_of_a_linear_layer_by_hand():
    layer, x = nn.Linear(4, 5, bias=False), torch.ones(3, 4, requires_grad=True)
    assert kernel_flops(lambda: layer(x).sum().backward()) == 3 * (2 * 3 * 4 * 5)
    layer.requires_grad_(False)
    assert kernel_flops(lambda: layer(x).sum().backward()) == 2 * (2 * 3 * 4 * 5)


@pytest.mark.parametrize("name", ["count", "backward", "memory", "rule"])
def test_what_is_counted_does_not_look_at_what_is_traced(name):
    imports = [
        line for line in Path(costs.__file__).with_name(f"{name}.py").read_text().splitlines() if "import" in line
    ]
    assert not any("trace" in line for line in imports)
