import pytest
import torch

from peftbench.methods.parts import places, sites
from tests.tiny import ENCODERS, FAMILIES, tiny_backbone

ROLES = ("q", "k", "v", "o", "ff_gate", "ff_up", "ff_out")


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
def test_the_closed_form_lists_the_sites_that_the_backbone_has(family):
    backbone = tiny_backbone(family)
    for role in ROLES:
        there = [(site.tokens, site.layer, site.in_features, site.features) for site in backbone.sites(role)]
        closed = [(linear.tokens, linear.layer, linear.k, linear.n) for linear in places.linears(backbone.sizes, role)]
        assert sorted(closed) == sorted(there)
    assert places.num_attentions(backbone.sizes) == len(backbone.attentions())


@pytest.mark.parametrize("family", [*FAMILIES, *ENCODERS])
@pytest.mark.parametrize("role", ["k", "o", "ff_hidden"])
def test_writing_to_the_weight_at_a_site_changes_what_the_layer_does_there_and_only_there(family, role):
    backbone = tiny_backbone(family)
    site = backbone.sites(role)[0]
    linear = backbone.model.get_submodule(site.module)
    x = torch.randn(3, site.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = linear(x)
        bias = before - linear(torch.zeros_like(x))
        sites.weight(backbone, site)[site.index if site.side == "output" else (slice(None), site.index)] *= 2
        inside = site.index if site.side == "output" else slice(None)
        change = torch.zeros_like(before)
        change[:, inside] = bias[:, inside]
        torch.testing.assert_close(linear(x) - before, change, atol=1e-5, rtol=1e-5)
