import pytest
import torch
from torch import nn

from peftbench.models.attention import attend

LOWEST = torch.finfo(torch.float32).min


class Block(nn.Module):
    num_key_value_groups = 2

    def __init__(self, k=None, v=None):
        super().__init__()
        if k is not None:
            self.add_module("prefix", Given(k, v))


class Given(nn.Module):
    def __init__(self, k, v):
        super().__init__()
        self.k, self.v = k, v

    def forward(self):
        return self.k, self.v


def by_hand(query, key, value, bias):
    """One row, one head: softmax(q k / sqrt(d) + bias) v."""
    return (query @ key.T / query.shape[-1] ** 0.5 + bias).softmax(-1) @ value


def test_a_prefix_stands_before_the_keys_and_is_seen_by_all_queries():
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 3, 6), torch.randn(1, 2, 3, 6), torch.randn(1, 2, 3, 6)
    k, v = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    causal = torch.full((3, 3), LOWEST).triu(1)
    bias = torch.randn(1, 4, 3, 3)
    output, _ = attend(Block(k, v), query, key, value, causal[None, None], position_bias=bias)
    for head in range(4):
        full = torch.cat((torch.zeros(3, 5), causal + bias[0, head]), 1)
        keys, values = torch.cat((k[head // 2], key[0, head // 2])), torch.cat((v[head // 2], value[0, head // 2]))
        torch.testing.assert_close(output[0, :, head], by_hand(query[0, head], keys, values, full))


def test_choices_share_the_keys_of_their_example():
    torch.manual_seed(0)
    query, key, value = torch.randn(6, 4, 2, 6), torch.randn(3, 2, 5, 6), torch.randn(3, 2, 5, 6)
    mask = torch.zeros(3, 1, 1, 5)
    mask[1, ..., 3:] = LOWEST
    folded, _ = attend(Block(), query, key, value, mask)
    twice = [piece.repeat_interleave(2, 0) for piece in (key, value, mask)]
    torch.testing.assert_close(folded, attend(Block(), query, *twice)[0])


def test_scores_are_capped_before_the_mask_those_of_a_prefix_too():
    torch.manual_seed(0)
    query, key, value = 5 * torch.randn(1, 4, 3, 6), torch.randn(1, 2, 3, 6), torch.randn(1, 2, 3, 6)
    k, v = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    causal = torch.full((3, 3), LOWEST).triu(1)
    output, _ = attend(Block(k, v), query, key, value, causal[None, None], scaling=0.4, softcap=1.5)
    keys, values = torch.cat((k[1], key[0, 1])), torch.cat((v[1], value[0, 1]))
    scores = 1.5 * torch.tanh(0.4 * query[0, 3] @ keys.T / 1.5) + torch.cat((torch.zeros(3, 5), causal), 1)
    torch.testing.assert_close(output[0, :, 3], scores.softmax(-1) @ values)


def test_a_window_hides_what_stands_too_far_back():
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 3, 6), torch.randn(1, 2, 3, 6), torch.randn(1, 2, 3, 6)
    distances = (torch.arange(3)[:, None] - torch.arange(3))[None, None]
    output, _ = attend(Block(), query, key, value, torch.zeros(1, 1, 3, 3), sliding_window=1, distances=distances.abs())
    torch.testing.assert_close(output, value.repeat_interleave(2, 1).transpose(1, 2))


@pytest.mark.parametrize("mask", [None, torch.full((1, 1, 3, 3), LOWEST).triu(1)])
def test_a_bias_that_lies_head_last_is_added_to_the_mask_once_for_all_layers(mask):
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 3, 6), torch.randn(1, 2, 3, 6), torch.randn(1, 2, 3, 6)
    bias = torch.randn(3, 3, 4, requires_grad=True)
    handed_on = bias.permute(2, 0, 1)[None]
    first, _ = attend(Block(), query, key, value, mask, position_bias=handed_on)
    added = handed_on.with_mask
    second, _ = attend(Block(), query, key, value, mask, position_bias=handed_on)
    assert handed_on.with_mask is added
    assert added.is_contiguous()
    by_hand = handed_on.detach() if mask is None else handed_on.detach() + mask
    plain, _ = attend(Block(), query, key, value, by_hand)
    torch.testing.assert_close((first, second), (plain, plain))
    assert torch.equal(torch.autograd.grad(added.sum(), bias)[0], torch.ones(3, 3, 4))
