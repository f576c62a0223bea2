import pytest
import torch

from peftbench.methods import bitfit
from tests.methods.published import T0_3B, T0_11B
from tests.tiny import tiny_backbone

# T-Few's pattern misses the feed-forward block's output.
T_FEW = bitfit.Config(roles="q,k,v,o,ff_gate,ff_up", layer_norms=True)


@pytest.mark.parametrize(("sizes", "published"), [(T0_3B, 1_331_200), (T0_11B, 2_662_400)])
def test_without_the_layer_that_t_few_misses_the_count_is_the_published_one(sizes, published):
    assert bitfit.added(sizes, T_FEW).num_parameters == published


def test_with_that_layer_it_is_what_the_text_says():
    assert bitfit.added(T0_3B, bitfit.Config(layer_norms=True)).num_parameters == 1_429_504
    assert bitfit.added(T0_3B, bitfit.Config()).num_parameters == 1_429_504 - 122 * 2048


def test_on_gpt2_it_moves_what_the_models_own_biases_move():
    ours, plain = tiny_backbone("gpt2"), tiny_backbone("gpt2").model
    names = bitfit.attach(ours, bitfit.Config())
    generator, starts = torch.Generator().manual_seed(0), {"bitfit_q": 0, "bitfit_k": 16, "bitfit_v": 32}
    with torch.no_grad():
        for name, b in ours.parameters_named(names).items():
            b.copy_(torch.randn(b.shape, generator=generator))
            module, kind, _ = name.rsplit(".", 2)
            start = starts.get(kind, 0)
            plain.get_submodule(module).bias[start : start + len(b)] += b
        ids = torch.arange(3, 33).view(2, 15)
        torch.testing.assert_close(ours.model(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-5)
    # c_attn (q, k, v), c_proj, c_fc, c_proj, ln_1 and ln_2 of two layers, and ln_f.
    assert len(names) == 2 * 8 + 1


def test_merging_gives_t5_the_biases_that_it_has_not_and_detaching_takes_them_away():
    backbone = tiny_backbone("t5")
    bitfit.attach(backbone, bitfit.Config(roles="q"))
    layer = backbone.model.get_submodule("encoder.block.0.layer.0.SelfAttention.q")
    with torch.no_grad():
        layer.bitfit_q.b.fill_(0.5)
    bitfit.merge(backbone)
    assert layer.bias.tolist() == [0.5] * 24
    backbone.detach_all()
    assert layer.bias is None
