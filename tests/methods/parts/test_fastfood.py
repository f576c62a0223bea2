import pytest
import torch

from peftbench.errors import MethodError
from peftbench.methods import intrinsic_dimension, intrinsic_said
from peftbench.methods.parts import fastfood
from tests.tiny import tiny_backbone


def walsh_hadamard(length):
    matrix, two = torch.ones(1, 1), torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    while len(matrix) < length:
        matrix = torch.kron(two, matrix)
    return matrix


@pytest.mark.parametrize(("d", "D", "length"), [(5, 11, 16), (11, 5, 16), (1, 1, 1), (8, 8, 8), (70, 300, 512)])
def test_the_projection_is_the_product_of_its_six_matrices(d, D, length):
    project = fastfood.Fastfood(d, D, seed=3, device=torch.device("cpu"))
    H, generator = walsh_hadamard(length), torch.Generator().manual_seed(3)
    signs = 2.0 * torch.randint(0, 2, (length,), generator=generator) - 1
    permutation = torch.randperm(length, generator=generator)
    gaussian = torch.randn(length, generator=generator)
    matrix = H @ gaussian.diag() @ torch.eye(length)[permutation] @ H @ signs.diag()
    matrix = matrix[:D, :d] / (gaussian.norm() * D**0.5)
    theta = torch.randn(d)
    torch.testing.assert_close(project(theta), matrix @ theta, atol=1e-5, rtol=1e-5)


def test_the_transform_is_its_own_inverse_up_to_its_length_and_its_own_gradient():
    """Through one, two and three of the small matrices."""
    for length in (32, 256, 8192):
        x = torch.randn(length, dtype=torch.float64, requires_grad=True)
        y = fastfood.hadamard(x)
        torch.testing.assert_close(fastfood.hadamard(y), length * x)
        assert y[0].item() == pytest.approx(x.sum().item())
        assert y[length // 2].item() == pytest.approx((x[: length // 2].sum() - x[length // 2 :].sum()).item())
        (gradient,) = torch.autograd.grad(y, x, grad_outputs=torch.eye(length, dtype=x.dtype)[3])
        torch.testing.assert_close(gradient, fastfood.hadamard(torch.eye(length, dtype=x.dtype)[3]))


def test_it_keeps_lengths_in_expectation():
    theta = torch.randn(20)
    norms = [fastfood.Fastfood(20, 500, seed, torch.device("cpu"))(theta).norm() for seed in range(200)]
    assert abs(torch.stack(norms).square().mean().sqrt() / theta.norm() - 1) < 0.03


def test_the_same_seed_gives_the_same_projection_and_each_parameter_has_its_own():
    backbone = tiny_backbone("llama")
    intrinsic_dimension.attach(backbone, intrinsic_dimension.Config(intrinsic_dimension=7))
    backbone.model.intrinsic.theta.data = torch.randn(7, generator=torch.Generator().manual_seed(0))
    before = {name: backbone.model.get_parameter(name).detach().clone() for name in backbone.base_names}
    intrinsic_dimension.merge(backbone)
    one, two = (f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1))
    shift = {name: backbone.model.get_parameter(name) - before[name] for name in (one, two)}
    assert not torch.allclose(shift[one], shift[two], atol=1e-3)
    index = backbone.base_names.index(one)
    expected = fastfood.Fastfood(7, 640, index, torch.device("cpu"))(
        torch.randn(7, generator=torch.Generator().manual_seed(0))
    )
    torch.testing.assert_close(shift[one].flatten(), expected, atol=1e-6, rtol=1e-4)


def test_said_scales_each_layer_by_its_own_number():
    backbone = tiny_backbone("llama")
    intrinsic_said.attach(backbone, intrinsic_said.Config(intrinsic_dimension=10))
    said = backbone.model.said
    assert [len(said.theta), len(said.scales)] == [7, 3]  # two layers, and what lies outside
    said.theta.data.fill_(1.0)
    said.scales.data = torch.tensor([0.0, 1.0, 0.0])
    before = {name: backbone.model.get_parameter(name).detach().clone() for name in backbone.base_names}
    intrinsic_said.merge(backbone)
    moved = {name for name, value in before.items() if not torch.equal(value, backbone.model.get_parameter(name))}
    assert moved == {name for name in before if ".layers.1." in name}


def test_a_dimension_that_the_scales_use_up_is_refused():
    with pytest.raises(MethodError, match="leaves nothing") as error:
        intrinsic_said.attach(tiny_backbone("t5"), intrinsic_said.Config(intrinsic_dimension=5))
    assert error.value.hint == "at least 6"
