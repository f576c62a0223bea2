import pytest
import torch

from peftbench.errors import MethodError
from peftbench.methods import compacter, compacter_pp
from peftbench.methods.parts import phm
from tests.methods.published import T0_3B, T0_11B
from tests.tiny import tiny_backbone

T_FEW = phm.Config(shared_phm_rule=False, layer_norms=True)


@pytest.mark.parametrize(
    ("method", "sizes", "count"),
    [
        (compacter, T0_3B, 870_400),
        (compacter, T0_11B, 1_728_512),
        (compacter_pp, T0_3B, 560_128),
        (compacter_pp, T0_11B, 1_114_112),
    ],
)
def test_with_rules_of_their_own_and_layer_norms_the_counts_are_those_of_t_fews_configs(method, sizes, count):
    assert method.added(sizes, T_FEW).num_parameters == count


def test_one_rule_for_all_layers_saves_all_others():
    own, shared = (
        compacter.added(T0_3B, phm.Config(shared_phm_rule=shared)).num_parameters for shared in (False, True)
    )
    assert own - shared == (2 * 96 - 1) * 4**3


def test_the_weight_is_a_sum_of_kronecker_products():
    rule = torch.nn.Parameter(torch.randn(2, 2, 2))
    layer = phm.Hypercomplex(rule, k=6, n=4, rank=3)
    expected = sum(torch.kron(rule[i], layer.s[i] @ layer.t[i]) for i in range(2))
    torch.testing.assert_close(layer.weight(), expected)
    x = torch.randn(5, 6)
    torch.testing.assert_close(layer(x), x @ expected.T + layer.b)


def test_the_adapter_adds_two_layers_with_a_gelu_between_them_to_what_the_block_gave():
    one = torch.nn.Parameter(torch.ones(1, 1, 1))
    adapter = phm.Adapter(phm.Hypercomplex(one, 2, 1, 1), phm.Hypercomplex(one, 1, 2, 1))
    for layer, column, row, bias in (
        (adapter.down, [[1.0]], [[1.0, 2.0]], [-1.0]),
        (adapter.up, [[3.0], [0.0]], [[1.0]], [0.0, 5.0]),
    ):
        layer.s.data, layer.t.data, layer.b.data = torch.tensor([column]), torch.tensor([row]), torch.tensor(bias)
    y = torch.tensor([[1.0, 1.0], [-1.0, 0.0]])
    two, minus_two = 2 * 0.9772499, -2 * 0.0227501  # x times the normal distribution's share below x
    expected = torch.tensor([[1 + 3 * two, 1 + 5], [-1 + 3 * minus_two, 5]])
    torch.testing.assert_close(adapter(y, y), expected)


def test_the_rule_is_one_parameter_in_all_layers():
    backbone = tiny_backbone("llama")
    names = compacter.attach(backbone, phm.Config())
    assert sum(name.endswith(".A") for name in names) == 1
    rules = {module.A for module in backbone.model.modules() if isinstance(module, phm.Hypercomplex)}
    assert len(rules) == 1


def test_a_dimension_that_does_not_divide_the_model_is_refused():
    with pytest.raises(MethodError, match="does not divide") as error:
        compacter.attach(tiny_backbone("llama"), phm.Config(phm_dim=3))
    assert error.value.hint == "a divisor of 16, such as 4"
