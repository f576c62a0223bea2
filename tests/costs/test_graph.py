"""fvcore's graph with this package's handles: each operator by hand, and none that is left out in silence."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from peftbench.costs.graph import graph_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.errors import CostError


class Operator(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *tensors):
        return self.function(*tensors)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: torch.einsum("ij,jk->ik", a, b),
        lambda a, b: torch.mv(a, b[:, 0]),
        lambda a, b: torch.tensordot(a, b, 1),
        lambda a, b: torch.dot(a[0], b[:, 0]),
        lambda a, b: functional.conv1d(a[None], b.T[..., None]),
        lambda a, b: functional.bilinear(a, b.T, a[None, 0, :, None] * b[None]),
    ],
)
def test_a_matmul_like_operator_without_a_handle_is_an_error_not_a_zero(function):
    with pytest.raises(CostError, match="cannot be counted: aten::"):
        graph_flops(Operator(function), torch.ones(4, 4), torch.ones(4, 4))


@pytest.mark.parametrize(
    ("function", "flops"),
    [
        (lambda a, b: a @ b, 2 * 2 * 3 * 4 * 5),
        (lambda a, b: a[0] @ b, 2 * 2 * 3 * 4 * 5),  # batch broadcast from the right operand
        (lambda a, b: a @ b[0], 2 * 2 * 3 * 4 * 5),
        (lambda a, b: a @ b[0, :, 0], 2 * 2 * 3 * 4),
        (lambda a, b: torch.bmm(a, b), 2 * 2 * 3 * 4 * 5),
        (lambda a, b: torch.baddbmm(a[..., :1], a, b), 2 * 2 * 3 * 4 * 5),
        (lambda a, b: torch.addmm(b[0, 0], a[0], b[0]), 2 * 3 * 4 * 5),
        (lambda a, b: torch.mm(a[0], b[0]), 2 * 3 * 4 * 5),
        (lambda a, b: functional.linear(a, b[0].T), 2 * 2 * 3 * 4 * 5),
        (lambda a, b: functional.layer_norm(a, (4,)) * a.softmax(-1), 0),
    ],
)
def test_operators_by_hand(function, flops):
    assert graph_flops(Operator(function), torch.ones(2, 3, 4), torch.ones(2, 4, 5)) == flops


def test_attention_by_hand():
    query, key, value = torch.ones(2, 4, 3, 5), torch.ones(2, 4, 7, 5), torch.ones(2, 4, 7, 6)
    flops = 2 * 2 * 4 * 3 * 7 * 5 + 2 * 2 * 4 * 3 * 7 * 6
    assert graph_flops(Operator(functional.scaled_dot_product_attention), query, key, value) == flops
    assert kernel_flops(lambda: functional.scaled_dot_product_attention(query, key, value)) == flops
