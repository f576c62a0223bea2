"""Bytes by hand, and the estimate of activations against what autograd keeps."""

import pytest
import torch

from peftbench import registry
from peftbench.costs.count import Query
from peftbench.costs.memory import num_activations, training
from peftbench.methods.base import Added, Op, Place
from peftbench.models.shapes import Sizes
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs

LLAMA = Sizes(False, 0, 1, d_model=8, d_kv=3, d_ff=10, num_heads=4, num_kv_heads=2, gated=True, vocab_size=20)
TWO_ANSWERS = Query(0, 5, (0, 1))  # 6 tokens, 2 of them predict
OUT = Place("decoder", 0, "ff", "ff_out")


def of(added, **more):
    settings = {"batch_size": 3, "bytes_per_value": 2, "optimizer": "adafactor"} | more
    return training(LLAMA, 1000, TWO_ANSWERS, added, **settings)


def test_a_low_rank_pair_by_hand():
    found = of(Added(36, ops=(Op(OUT, 10, 2, True, reads="input"), Op(OUT, 2, 8, True, reads="trained"))))
    assert found.weights == 1000 * 2 + 36 * 4
    assert found.gradients == 36 * 4
    assert found.optimizer == (10 + 2 + 2 + 8) * 4  # a row's and a column's means
    assert found.activations == 3 * 2 * (6 * (8 + 3 * 10) + 2 * 20)  # the feed-forward block and the logits
    assert found.total == found.weights + found.gradients + found.optimizer + found.activations


def test_adamw_holds_two_values_for_each():
    assert of(Added(36, places=(OUT,)), optimizer="adamw").optimizer == 2 * 36 * 4


def test_trained_half_precision_weights_have_float32_copies():
    freed = Added(80, weights=(OUT,))
    half, whole = of(freed), of(freed, bytes_per_value=4)
    assert half.weights == 1000 * 2
    assert half.optimizer == (10 + 8 + 80) * 4
    assert whole.optimizer == (10 + 8) * 4


def test_what_lies_over_a_matrix_makes_a_second_one():
    over = Added(5, weights=(OUT,))
    assert of(over).activations - of(Added(5, places=(OUT,))).activations == 2 * 80


def test_nothing_is_kept_below_the_first_adapted_block():
    assert num_activations(LLAMA, TWO_ANSWERS, Added(6, places=(Place("decoder", 0, "self", "v"),))) == (
        6 * (8 + 4 * 12) + 6 * (8 + 3 * 10) + 2 * 20
    )


@pytest.mark.parametrize("family", ["t5", "gpt2", "llama", "bart"])
def test_the_estimate_is_near_what_autograd_keeps(family, backbone_of):
    backbone, method = backbone_of(family), registry.method("ia3")
    config = method.Config()
    backbone.train_only(method.attach(backbone, config))
    weights = {parameter.data_ptr() for parameter in backbone.model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    encoded = Encoded((5,) * 60, ((6, 7), (8, 9)), (0, 0))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = choice_log_probs(backbone, [encoded], is_shared=False)[0].sum()
    more = backbone.sizes.num_fed_more
    query = Query(0, 60, (2 + more, 2 + more))
    estimate = 4 * num_activations(backbone.sizes, query, method.added(backbone.sizes, config))
    assert loss.requires_grad
    assert 0.4 < estimate / sum(kept.values()) < 1.5
