import pytest
import torch

from peftbench.methods import diff_pruning
from tests.tiny import tiny_backbone

CONFIG = diff_pruning.Config(target_ratio=0.01)


def test_a_gate_is_a_stretched_and_cut_sigmoid():
    """3 sigmoid(x) - 1.5 is 0 at x = 0 and 1 at x = ln 5."""
    gates = diff_pruning._gate(torch.tensor([-5.0, 0.0, 1.0, 5.0]))
    assert gates.tolist() == pytest.approx([0.0, 0.0, 3 / (1 + 2.718281828**-1) - 1.5, 1.0])


def test_the_change_is_gated_by_the_weights_gate_and_its_groups():
    diff = diff_pruning.Diff(torch.tensor([2, 1]), CONFIG).eval()
    diff.w.data = torch.tensor([1.0, 2.0, 3.0])
    diff.alpha.data = torch.tensor([5.0, -5.0, 5.0]) / CONFIG.alpha_rate
    diff.group_alpha.data = torch.tensor([1.0, -5.0]) / CONFIG.alpha_rate
    half_open = 3 / (1 + 2.718281828**-1) - 1.5
    assert diff.change(0).tolist() == pytest.approx([half_open, 0.0])
    assert diff.change(1).tolist() == [0.0]


def test_the_chance_that_a_gate_opens_is_the_penaltys_sigmoid():
    diff = diff_pruning.Diff(torch.tensor([100_000]), diff_pruning.Config(alpha_init=0.7)).train()
    torch.manual_seed(0)
    diff.draw()
    opened = (diff_pruning._gate(diff.rate * diff.alpha + diff.noise) > 0).float().mean()
    expected = torch.tensor(0.7).sigmoid()
    assert abs(opened - expected) < 0.01
    torch.testing.assert_close(diff.open_share(), 2 * expected)


def test_the_penalty_is_the_weighted_share_of_open_gates():
    """All gates start at 5: sigmoid(5) for the weights', and as much for their groups'."""
    backbone, config = tiny_backbone("llama"), diff_pruning.Config(l0_weight=0.3)
    diff_pruning.attach(backbone, config)
    assert diff_pruning.penalty(backbone, config).item() == pytest.approx(0.3 * 2 / (1 + 2.718281828**-5))


def test_what_is_left_are_the_largest_changes():
    backbone = tiny_backbone("llama")
    diff_pruning.attach(backbone, CONFIG)
    w = torch.randn(backbone.num_parameters, generator=torch.Generator().manual_seed(0))
    backbone.model.diff_pruning.w.data = w.clone()
    names = diff_pruning.finish(backbone, CONFIG)
    assert names == ["diff_pruning.values", "diff_pruning.places"]
    left = backbone.model.diff_pruning
    assert len(left.places) == int(0.01 * len(w))
    assert torch.equal(left.places, w.abs().topk(len(left.places)).indices.sort().values)
    torch.testing.assert_close(left.values.detach(), w[left.places])  # with alpha = 5 all gates are open


def test_after_the_cut_no_other_weight_changes_any_more():
    backbone = tiny_backbone("llama")
    diff_pruning.attach(backbone, CONFIG)
    diff = backbone.model.diff_pruning
    diff.w.data.normal_()
    diff_pruning.after_step(backbone, CONFIG, 5, 10)
    assert not len(diff.kept)
    diff_pruning.after_step(backbone, CONFIG, 6, 10)
    assert int(diff.kept.sum()) == int(0.01 * len(diff.w))
    sum(diff.change(group).sum() for group in range(len(diff.counts))).backward()
    assert torch.equal(diff.w.grad.bool(), diff.kept)


def test_the_change_is_made_anew_when_anything_of_it_is_new():
    diff = diff_pruning.Diff(torch.tensor([200, 100]), CONFIG).train()
    torch.manual_seed(0)
    diff.draw()
    with torch.no_grad():
        diff.w.add_(1.0)
    diff.change(1)

    def stepped():
        with torch.no_grad():
            diff.alpha.sub_(1.0)

    for renew in (stepped, diff.draw, diff.eval):
        renew()
        noise = diff.noise[200:] if diff.training else 0.0
        expected = diff_pruning._gate(diff.rate * diff.alpha[200:] + noise)
        group = diff_pruning._gate(diff.rate * diff.group_alpha[1] + (diff.group_noise[1] if diff.training else 0.0))
        torch.testing.assert_close(diff.change(1), diff.w[200:] * expected * group)
    for _ in range(2):  # a second backward pass has a graph of its own
        (diff.change(0).sum() + diff.change(1).sum()).backward()
