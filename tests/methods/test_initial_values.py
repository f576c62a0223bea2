"""What starts at random starts at its size: a start ten times as large trains, too, and nothing else would tell."""

import re
from math import sqrt

import pytest
import torch

from peftbench import registry
from tests.tiny import tiny_backbone

MLP = {"num_virtual_tokens": 40, "reparameterize": True, "hidden_size": 30}
OWN = {"shared_phm_rule": False, "reduction_factor": 1, "phm_rank": 2}
STARTS = [
    ("lora", {}, "A", lambda n, k: sqrt(1 / (3 * k))),  # uniform within 1 / sqrt(k): Kaiming's with a = sqrt(5)
    ("adalora", {}, "P", lambda n, rank: sqrt(1 / n)),
    ("adalora", {}, "Q", lambda rank, k: sqrt(1 / k)),
    ("bottleneck", {"reduction_factor": 2}, "W_down|W_up", lambda *_: 0.01),
    ("compacter", OWN, "A", lambda *_: 0.02),
    ("compacter", OWN, "s|t", lambda _, rows, columns: sqrt(2) * sqrt(2 / (rows + columns))),  # Glorot's, gain sqrt(2)
    ("prefix_tuning", {}, "k|v", lambda *_: 1.0),
    ("prefix_tuning", {"init_std": 0.02}, "k|v", lambda *_: 0.02),
    ("prefix_tuning", MLP, "E", lambda *_: 1.0),
    ("prefix_tuning", MLP | {"init_std": 0.02}, "E", lambda *_: 0.02),
    ("prefix_tuning", MLP | {"init_std": 0.02}, "W_1|b_1", lambda *_: sqrt(1 / (3 * 16))),  # as torch's Linear
    ("prefix_tuning", MLP | {"init_std": 0.02}, "W_2|b_2", lambda *_: sqrt(1 / (3 * 30))),
    ("prompt_tuning", {"init": "uniform", "num_virtual_tokens": 40}, "P", lambda *_: 0.5 / sqrt(3)),
    ("p_tuning", {"num_virtual_tokens": 40, "encoder": "embedding"}, "E", lambda *_: 1.0),
]


@pytest.mark.parametrize(("name", "settings", "part", "expected"), STARTS)
def test_random_starts_have_their_standard_deviation(name, settings, part, expected):
    backbone, method = tiny_backbone("t5"), registry.method(name)
    torch.manual_seed(0)
    names = method.attach(backbone, method.Config(**settings))
    found = [one for name, one in backbone.parameters_named(names).items() if re.search(rf"\.({part})$", name)]
    values = torch.cat([(one / expected(*one.shape)).detach().flatten() for one in found])
    assert len(values) >= 500
    assert abs(values.mean()) < 0.1
    assert values.square().mean().sqrt() == pytest.approx(1, rel=0.1)
