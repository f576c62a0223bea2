import pytest

from peftbench.errors import MethodError
from peftbench.methods import top_layers
from tests.methods.published import T0_3B
from tests.tiny import tiny_backbone


def test_the_top_layer_of_gpt2_is_its_last_block_with_all_that_is_in_it():
    backbone = tiny_backbone("gpt2")
    block = backbone.model.transformer.h[1]
    names = top_layers.attach(backbone, top_layers.Config())
    assert names == [f"transformer.h.1.{name}" for name, _ in block.named_parameters()]


def test_a_decoder_layer_of_t0_3b_has_two_attentions_three_feed_forward_matrices_and_three_norms():
    layer = 8 * 2048 * 2048 + 3 * 2048 * 5120 + 3 * 2048
    assert top_layers.added(T0_3B, top_layers.Config(num_layers=2)).num_parameters == 2 * layer


def test_the_lowest_decoder_layer_of_t5_which_holds_all_positions_is_out_of_reach():
    with pytest.raises(MethodError, match="num_layers = 2") as error:
        top_layers.attach(tiny_backbone("t5"), top_layers.Config(num_layers=2))
    assert error.value.hint.startswith("at most 1")
