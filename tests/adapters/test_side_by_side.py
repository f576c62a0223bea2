"""A multi-adapter batch gives each row what its own adapter gives it alone."""

import random
from itertools import product

import pytest
import torch

from peftbench import registry
from peftbench.adapters import saved
from peftbench.adapters.side_by_side import SideBySide
from peftbench.errors import MethodError
from peftbench.methods.stages import Stages
from peftbench.scoring.forward import choice_log_probs
from tests.scoring.prompts import encode_one
from tests.tiny import FAMILIES, tiny_backbone

PROMPTS = [
    ("the premise says that the hypothesis does follow", ["yes it does follow", "no it does not"]),
    ("is the answer positive or negative?", ["it is positive", "it is negative", "maybe it is not"]),
    ("question: true or false", ["true as it stands", "false as it stands"]),
    ("maybe the premise", ["yes", "no"]),
    ("does it follow that the answer is maybe", ["maybe", "yes"]),
]
ADAPTERS = [
    ("ia3", {}),
    ("ia3", {"places": "all"}),
    ("lora", {"rank": 2}),
    ("lora", {"rank": 3, "alpha": 1.0}),
    ("bitfit", {}),
    ("adalora", {}),
    ("adalora", {"init_rank": 4, "alpha": 2.0}),
    ("bottleneck", {"reduction_factor": 4}),
    ("compacter", {"reduction_factor": 2}),
    ("compacter", {"reduction_factor": 2, "shared_phm_rule": False}),
    ("prefix_tuning", {"num_virtual_tokens": 2}),
    ("prefix_tuning", {"num_virtual_tokens": 5}),
    ("prompt_tuning", {"num_virtual_tokens": 3}),
    ("prompt_tuning", {"num_virtual_tokens": 6}),
    ("p_tuning", {"num_virtual_tokens": 4}),
]


def save_random(backbone, folder, name, settings, seed):
    """Save an adapter with random values."""
    method = registry.method(name)
    config = method.Config(**settings)
    torch.manual_seed(seed)
    names = method.attach(backbone, config)
    with torch.no_grad():
        for parameter in backbone.parameters_named(names).values():
            parameter.add_(0.1 * torch.randn_like(parameter))
    names = Stages(method, backbone, config, names).finish()
    saved.save(folder, backbone, name, config, names)
    backbone.detach_all()
    return folder


def log_probs(backbone, prompts):
    """Give each prompt's log-probabilities, of the tokens of all its choices in a row."""
    batch = [encode_one(backbone, text, choices, end="eos", separator="\n\n", label=0) for text, choices in prompts]
    with torch.no_grad():
        return [values[mask] for values, mask in zip(*choice_log_probs(backbone, batch, is_packed=False), strict=True)]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_row_gets_what_its_adapter_gives_alone_whatever_stands_beside_it(family, tmp_path):
    backbone = tiny_backbone(family)
    folders = [save_random(backbone, tmp_path / str(seed), *each, seed) for seed, each in enumerate(ADAPTERS)]
    alone = []
    for folder in folders:
        saved.load(folder, backbone)
        alone.append(log_probs(backbone, PROMPTS))
        backbone.detach_all()
    side_by_side = SideBySide(backbone, folders)
    shuffled = list(product(range(len(PROMPTS)), range(len(folders))))
    random.Random(0).shuffle(shuffled)
    for first in range(0, len(shuffled), 25):
        pairs = shuffled[first : first + 25]
        with side_by_side.use([index for _, index in pairs]):
            mixed = log_probs(backbone, [PROMPTS[prompt] for prompt, _ in pairs])
        for row, (prompt, index) in zip(mixed, pairs, strict=True):
            torch.testing.assert_close(row, alone[index][prompt], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("layernorm", {}, "it changes 'transformer.h.0.ln_1.weight', which all rows go through"),
        ("prefix_tuning", {"num_virtual_tokens": 3, "position_offset": 3}, "its rows begin at position 3"),
    ],
)
def test_an_adapter_that_acts_on_all_rows_is_refused_and_leaves_nothing_behind(name, settings, reason, tmp_path):
    backbone = tiny_backbone("gpt2")
    folder = save_random(backbone, tmp_path / "a", name, settings, 0)
    with pytest.raises(MethodError, match=f"cannot share a batch with others: {reason}"):
        SideBySide(backbone, [folder])
    assert not backbone.inserted
    assert not backbone.prefixes
