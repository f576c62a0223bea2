"""Muon against the singular value decomposition."""

from __future__ import annotations

import pytest
import torch

from peftbench.lab.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(2, 6, 12), (2, 12, 6)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    middle = u.mT @ orthogonal(matrices) @ v.mT
    values = middle.diagonal(dim1=1, dim2=2)
    assert 0.6 < values.min() <= values.max() < 1.3
    assert (middle - torch.diag_embed(values)).abs().max() < 1e-3


def test_a_step_is_torchs_own_muon_to_bfloat16() -> None:
    torch.manual_seed(0)
    weights, torch_weights = torch.nn.Parameter(torch.ones(8, 16)), torch.nn.Parameter(torch.ones(8, 16))
    muon = Muon([weights], lr=0.1, momentum=0.9, weight_decay=0.1)
    torch_muon = torch.optim.Muon(
        [torch_weights], lr=0.1, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(3):
        weights.grad = torch_weights.grad = torch.randn(8, 16)
        muon.step()
        torch_muon.step()
    assert (weights - torch_weights).abs().max() < 0.02
    assert (weights - 1).abs().max() > 0.1
