"""Training's `counted` = `traced`, to the last unit: the closed form against what autograd dispatches, and by hand."""

from collections import Counter

import pytest
import torch

from peftbench import registry
from peftbench.costs import count
from peftbench.costs.backward import Walk, backward_flops, training_flops
from peftbench.costs.count import Query, forward_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.methods.base import Added, Op, Place
from peftbench.methods.stages import Stages
from peftbench.models.shapes import Sizes
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs

T5 = Sizes(True, 1, 1, d_model=8, d_kv=3, d_ff=10, num_heads=2, num_kv_heads=2, gated=True, vocab_size=20)
LLAMA = Sizes(False, 0, 1, d_model=8, d_kv=3, d_ff=10, num_heads=4, num_kv_heads=2, gated=True, vocab_size=20)
GPT2 = Sizes(False, 0, 1, 8, 4, 32, num_heads=2, num_kv_heads=2, gated=False, vocab_size=20, fused=True)
TWO_CHOICES = Query(0, 5, (2, 1))  # T5: 5 encoder and 3 decoder tokens
TWO_ANSWERS = Query(0, 5, (0, 1))  # decoder-only: 6 tokens, 2 of them predict
CONTEXT, CHOICES = 9, (3, 3)

# Settings in which a method's matmuls differ from those of its defaults.
VARIANTS = {
    "ia3": [{"places": "all"}],
    "lora": [{"roles": "v"}, {"roles": "o,ff_up", "layer_norms": True}],
    "bitfit": [{"layer_norms": True}, {"roles": "q"}],
    "bottleneck": [{"placement": "pfeiffer", "drop_layers": 1}],
    "p_tuning": [{"encoder": "mlp"}],
    "prefix_tuning": [{"reparameterize": True}],
}
# Masked models, whose choices are rows; modernbert's layers are fused, deberta's distances pass some of them, too.
MASKED = ("bert", "modernbert", "deberta-v2")
PLACED = ("ia3", "lora", "prefix_tuning", "p_tuning", "bottleneck", "bitfit", "top_layers", "fishmask", "full")
# qwen2 is llama with biases, so that BitFit's differ; gpt_neox's blocks stand side by side; bart's norms behind them
SIX = ("t5", "t5-v1.0", "gpt2", "qwen2", "gpt_neox", "bart")
PROJECTIONS = ("intrinsic_said", "intrinsic_dimension")  # they take seconds, and of norms they know nothing
# Gate and up in one layer; scores that are capped, and norms behind the blocks.
MORE = {
    "phi3": [("ia3", {"places": "all"}), ("lora", {"roles": "ff_up"}), ("lora", {"roles": "k"}), ("top_layers", {})],
    "gemma2": [("lora", {"roles": "q"}), ("prefix_tuning", {}), ("layernorm", {})],
}
SKIPPED = [("bart", name) for name in PROJECTIONS]
CASES = [
    *((family, name, {}) for family in SIX for name in registry.METHODS if (family, name) not in SKIPPED),
    *((family, name, settings) for family in ("t5", "gpt2") for name in VARIANTS for settings in VARIANTS[name]),
    *((family, name, {}) for family in MASKED for name in PLACED),
    *((family, *each) for family, some in MORE.items() for each in some),
]


def at(stack, block, role, side="output"):
    return Place(stack, 0, block, role, side)


def step(backbone, method, config):
    """Run one example with its choices forward and backward, as training does, with the method's penalty."""
    tokens = tuple(tuple(range(3 + index, 3 + index + length)) for index, length in enumerate(CHOICES))
    encoded = Encoded(tuple(range(3, 3 + CONTEXT)), tokens, (0,) * len(CHOICES))
    loss = choice_log_probs(backbone, [encoded], is_shared=False)[0].sum()
    Stages(method, backbone, config, []).penalized({"loss": loss})["loss"].backward()


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize(("family", "name", "settings"), CASES)
def test_every_method_trains_with_the_flops_that_follow_from_its_ops(family, name, settings, backbone_of):
    backbone, method = backbone_of(family), registry.method(name)
    config = method.Config(**settings)
    torch.manual_seed(0)
    backbone.train_only(method.attach(backbone, config))
    query = Query(0, CONTEXT, tuple(length + backbone.sizes.num_fed_more for length in CHOICES))
    counted = training_flops(backbone.sizes, {query: 1}, 1, method.added(backbone.sizes, config))
    assert kernel_flops(lambda: step(backbone, method, config)) == counted


def test_nothing_trained_nothing_run_backward():
    assert backward_flops(T5, TWO_CHOICES) == 0
    assert backward_flops(LLAMA, TWO_ANSWERS) == 0


def test_one_vector_on_the_values_of_llama_by_hand():
    expected = (
        2 * 6 * 6 * 12  # the weighted sum, for the values; queries and keys need nothing
        + 2 * 6 * 12 * 8  # o
        + 3 * (2 * 6 * 8 * 10)  # gate, up, out
        + 2 * 2 * 8 * 20  # LM head
    )
    assert backward_flops(LLAMA, TWO_ANSWERS, Added(6, places=(at("decoder", "self", "v"),))) == expected


def test_one_vector_on_the_queries_of_llama_by_hand():
    expected = (
        2 * (2 * 6 * 6 * 12)  # scores for the queries, weighted sum for the weights
        + 2 * 6 * 12 * 8  # o
        + 3 * (2 * 6 * 8 * 10)
        + 2 * 2 * 8 * 20
    )
    assert backward_flops(LLAMA, TWO_ANSWERS, Added(12, places=(at("decoder", "self", "q"),))) == expected


def test_one_vector_on_the_values_of_gpt2_reaches_queries_and_keys_too_as_they_share_a_layer():
    expected = 4 * (2 * 6 * 6 * 8) + 2 * 6 * 8 * 8 + 2 * (2 * 6 * 8 * 32) + 2 * 2 * 8 * 20
    assert backward_flops(GPT2, TWO_ANSWERS, Added(8, places=(at("decoder", "self", "v"),))) == expected


def test_virtual_keys_of_gpt2_leave_its_queries_alone():
    places = (at("decoder", "self", "k"), at("decoder", "self", "v"))
    pairs = 2 * 6 * (6 + 7) * 8  # 7 virtual keys
    expected = 3 * pairs + 2 * 6 * 8 * 8 + 2 * (2 * 6 * 8 * 32) + 2 * 2 * 8 * 20
    assert backward_flops(GPT2, TWO_ANSWERS, Added(112, places=places, extra_keys=7)) == expected


def test_a_vector_in_the_decoder_of_t5_leaves_the_encoder_alone():
    expected = 2 * 3 * 10 * 8 + 2 * 3 * 8 * 20  # the decoder's last matrix and the LM head
    assert backward_flops(T5, TWO_CHOICES, Added(10, places=(at("decoder", "ff", "ff_hidden"),))) == expected


def test_a_vector_in_the_encoder_of_t5_by_hand():
    expected = (
        2 * 5 * 10 * 8  # the encoder's out
        + 2 * (2 * 5 * 8 * 6)  # cross k, v
        + 3 * (2 * 3 * 5 * 6)  # cross: scores for keys, weighted sum for weights and values
        + 2 * 3 * 6 * 8  # cross o
        + 3 * (2 * 3 * 8 * 10)  # gate, up, out
        + 2 * 3 * 8 * 20  # LM head
    )
    assert backward_flops(T5, TWO_CHOICES, Added(10, places=(at("encoder", "ff", "ff_hidden"),))) == expected


def test_a_low_rank_pair_by_hand():
    place = at("decoder", "ff", "ff_out")
    added = Added(36, ops=(Op(place, 10, 2, True, reads="input"), Op(place, 2, 8, True, reads="trained")))
    expected = 2 * 6 * 10 * 2 + 2 * (2 * 6 * 2 * 8) + 2 * 2 * 8 * 20  # A: its matrix; B: its matrix and what it reads
    assert backward_flops(LLAMA, TWO_ANSWERS, added) == expected


def test_freed_matrices_cost_a_gradient_each():
    added = Added(None, weights=(at("decoder", "ff", "ff_out"),), head=True)
    assert backward_flops(LLAMA, TWO_ANSWERS, added) == 2 * 6 * 10 * 8 + 2 * (2 * 2 * 8 * 20)


def test_full_fine_tuning_costs_twice_the_forward_pass():
    full = registry.method("full").added
    for sizes, query in ((LLAMA, TWO_ANSWERS), (T5, TWO_CHOICES), (GPT2, TWO_ANSWERS)):
        assert backward_flops(sizes, query, full(sizes, None)) == 2 * forward_flops(sizes, query)


def test_matmuls_beside_the_tokens_are_run_once_a_step():
    fixed = Op(None, 3, 4, mergeable=False, reads="trained", rows=7, training_only=True)
    added = Added(12, ops=(fixed,), places=(at("decoder", "self", "v"),))
    without = Added(12, places=(at("decoder", "self", "v"),))
    examples = Counter({TWO_ANSWERS: 5})
    extra = training_flops(LLAMA, examples, 2, added) - training_flops(LLAMA, examples, 2, without)
    assert extra == 2 * 3 * (2 * 7 * 3 * 4)
    assert forward_flops(LLAMA, TWO_ANSWERS, added) == forward_flops(LLAMA, TWO_ANSWERS)


def test_a_second_walk_counts_what_the_first_one_counted():
    added = Added(6, places=(at("decoder", "self", "v"),))
    walk = Walk(LLAMA, count.stream(LLAMA, TWO_ANSWERS, added), added)
    assert walk.run() == walk.run()
    assert [place.block for place in walk.run().run_backward] == ["self", "ff"]
