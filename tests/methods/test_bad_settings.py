"""Settings that a method or a model cannot take: one line that names what is wrong, and what is possible."""

from functools import cache

import pytest

from peftbench import registry
from peftbench.errors import MethodError
from peftbench.spec.settings import checked
from tests.methods import contract
from tests.tiny import tiny_backbone

loaded = cache(tiny_backbone)
ROLES = "all, or some of q, k, v, o, ff_gate, ff_up, ff_out"
CASES = [
    ("t5", "lora", {"roles": "q,qq"}, f"roles: 'qq' is no role: {ROLES}", "default: roles = 'all'"),
    ("t5", "bitfit", {"roles": ["k", "keys"]}, f"roles: 'keys' is no role: {ROLES}", "default: roles = 'all'"),
    ("t5", "lora", {"roles": 3}, f"roles: 3 is no role: {ROLES}", "default: roles = 'all'"),
    ("t5-v1.0", "lora", {"roles": "ff_gate"}, "LoRA acts on the role 'ff_gate', and", "q, k, v, o, ff_up, ff_out"),
    ("gpt2", "bitfit", {"roles": "ff_gate"}, "BitFit acts on the role 'ff_gate', and", "q, k, v, o, ff_up, ff_out"),
    ("t5", "lora", {"rank": 0}, "rank: Input should be greater than or equal to 1", "default: rank = 4"),
    ("t5", "lora", {"rank": 17}, "rank = 17 is more than a layer of the role 'q' can have, 16 -> 24", "at most 16"),
    ("t5", "adalora", {"init_rank": 17}, "init_rank = 17 is more than a layer of the role 'q'", "at most 16"),
    ("t5", "adalora", {"init_rank": 2}, "target_rank = 4 is more than init_rank = 2", None),
    ("t5", "compacter", {"phm_dim": 3}, "phm_dim = 3 does not divide the model's 16 features", "such as 4"),
    ("t5", "compacter", {"phm_rank": 2}, "phm_rank = 2 is more than s_i t_i can have", "at most 1; "),
    ("t5", "bottleneck", {"drop_layers": 2}, "leaves no layer with an adapter: the model has 2", "at most 1"),
    ("t5", "top_layers", {"num_layers": 2}, "num_layers = 2, and the model has 2 layers", "at most 1; "),
    ("t5", "prefix_tuning", {"num_virtual_tokens": 0}, "num_virtual_tokens: Input should be", "= 10"),
    ("t5", "prefix_tuning", {"init_std": 0}, "init_std: Input should be greater than 0", "default: init_std = 1.0"),
    ("t5", "prefix_tuning", {"init_std": float("inf")}, "init_std: Input should be a finite number", "= 1.0"),
    ("t5", "p_tuning", {"encoder": "gru"}, "encoder: Input should be 'lstm', 'mlp' or 'embedding'", "= 'lstm'"),
    ("t5", "fishmask", {"keep_ratio": 1e-9}, "keep_ratio = 1e-09 of 27,392 weights is none", "such as 7e-05"),
    ("t5", "diff_pruning", {"target_ratio": 1e-9}, "target_ratio = 1e-09 of 27,392 weights is none", "such as 7e-05"),
    ("t5", "intrinsic_said", {"intrinsic_dimension": 5}, "leaves nothing beside a scale", "at least 6"),
    ("t5", "intrinsic_said", {"intrinsic_dimension": 30_000}, "more than the model's own 27,392", "--method full"),
    ("t5", "intrinsic_dimension", {"intrinsic_dimension": 30_000}, "more than the model's own 27,392", "--method full"),
    ("t5", "layernorm", {"rank": 2}, "rank: Extra inputs are not permitted", "known fields: "),
]


@pytest.mark.parametrize(
    ("family", "name", "settings", "message", "hint"), CASES, ids=[f"{case[1]}-{case[2]}" for case in CASES]
)
def test_it_is_one_line_that_names_what_is_possible(family, name, settings, message, hint):
    backbone, method = loaded(family), registry.method(name)
    with pytest.raises(MethodError) as error:
        method.attach(backbone, checked(method.Config, settings, f"method '{name}'", MethodError))
    backbone.detach_all()
    assert message in error.value.message
    assert "\n" not in error.value.message
    assert (hint in error.value.hint) if hint else error.value.hint is None
    assert contract.what_is_there(backbone) == contract.what_is_there(contract.fresh(family))


@pytest.mark.parametrize("name", ["fishmask", "diff_pruning"])
def test_the_share_that_is_named_is_enough(name):
    backbone, method = loaded("t5"), registry.method(name)
    (field,) = [field for field in method.Config.model_fields if field.endswith("_ratio")]
    with pytest.raises(MethodError) as error:
        method.attach(backbone, method.Config(**{field: 1e-9}))
    method.attach(backbone, method.Config(**{field: float(error.value.hint.split()[-1])}))
    backbone.detach_all()
