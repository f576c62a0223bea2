"""Bytes at their peak: by hand, and against the tensors that are there while a model is trained and scores."""

from dataclasses import replace

import pytest
import torch

from peftbench import registry
from peftbench.costs import memory
from peftbench.costs.allocated import Allocated
from peftbench.costs.count import Query
from peftbench.costs.memory import Model, Training, moments, step_pass, training
from peftbench.learners.tune import Tuning, learn
from peftbench.methods.base import Added, Op, Place
from peftbench.models.shapes import Elementwise, Sizes
from peftbench.scoring.score import score
from peftbench.scoring.work import Pass
from peftbench.spec import cell
from peftbench.tasks.task import Example
from tests.methods.test_contract import SMALL
from tests.tiny import FAMILIES

LLAMA = Sizes(False, 0, 1, d_model=8, d_kv=3, d_ff=10, num_heads=4, num_kv_heads=2, gated=True, vocab_size=20)
HALF = Model(LLAMA, Elementwise("silu", norm="float32"), 1000, "bfloat16")
WHOLE = replace(HALF, dtype="float32")
RUN = Pass.of_decoder(rows=3, tokens=6, head=6)
OUT, VALUES = Place("decoder", 0, "ff", "ff_out"), Place("decoder", 0, "self", "v")
PAIR = Added(36, ops=(Op(OUT, 10, 2, True, reads="input"), Op(OUT, 2, 8, True, reads="trained")))
LOGITS, MASK = 6 * 20 * 4, 3 * 6 * 6
CLOSE = 0.2  # tiny models have wide masks and narrow layers


def at(moment, model, added, **more):
    return next(peak for peak in moments(model, RUN, Training(added, **more)) if peak.moment == moment)


def test_a_low_rank_pair_by_hand():
    peak = at("loss", WHOLE, PAIR)
    assert peak.weights == 1000 * 4 + 36 * 4
    assert peak.gradients == 36 * 4
    assert peak.optimizer == (10 + 2 + 2 + 8) * 4  # a row's and a column's means
    # What the pair reads, what its second matrix reads, the last norm's input, and the mask. Nothing before the pair
    # needs a gradient.
    assert peak.kept == 4 * (18 * 10 + 18 * 2 + 18 * 8 + MASK)
    assert peak.logits == 3 * LOGITS
    assert peak.total == peak.weights + peak.gradients + peak.optimizer + peak.kept + peak.logits
    assert at("loss", HALF, PAIR).kept == 18 * 10 * 4 + 18 * 2 * 4 + 18 * 8 * 4 + MASK * 2  # in float32, but the mask


def test_attention_and_the_blocks_behind_it_by_hand():
    scaled = at("loss", WHOLE, Added(6, places=(VALUES,), factors=(VALUES,)))
    attention = 4 * 12 + 4 + 6  # queries, keys and values for all heads, output; a number per head; what is scaled
    feed_forward = 8 + 3 * 10  # before the norm; before and behind the activation, and the other factor
    assert scaled.kept == 4 * (18 * (attention + feed_forward + 8) + MASK)
    checkpointed = at("loss", WHOLE, Added(6, places=(VALUES,), factors=(VALUES,)), checkpointing=True)
    assert checkpointed.kept == 4 * (18 * (8 + 8) + MASK)  # what enters the layer, and the last norm


def test_adamw_holds_two_values_for_each():
    assert training(HALF, RUN, Training(Added(36, places=(OUT,)), "adamw")).optimizer == 2 * 36 * 4


def test_trained_half_precision_weights_have_float32_copies_and_are_put_back_in_the_end():
    freed = Added(80, weights=(OUT,))
    half, whole = at("step", HALF, freed), at("step", WHOLE, freed)
    assert (half.weights, whole.weights) == ((1000 + 80) * 2, (1000 + 80) * 4)
    assert (half.optimizer, whole.optimizer) == ((10 + 8 + 80) * 4, (10 + 8) * 4)
    assert (half.gradients, whole.gradients) == (80 * (2 + 4), 80 * 4)
    assert whole.working == 80 * 4  # the square


def test_what_lies_over_a_matrix_makes_a_second_one():
    over, freed = Added(5, weights=(OUT,)), Added(80, weights=(OUT,))
    assert at("loss", HALF, over).kept - at("loss", HALF, freed).kept == 2 * 80


def test_weights_of_four_bits():
    """2305.14314, section 3: 0.5 bits a parameter of scales become 8/64 + 32/(64 * 256) = 0.127 bits."""
    packed = LLAMA.d_model * (12 + 6 + 6 + 12 + 10 + 10 + 10)
    assert (
        replace(HALF, num_parameters=packed + 100, dtype="4bit").weight_bytes
        == round(packed * (4 + 8 / 64 + 32 / (64 * 256)) / 8) + 200
    )


def test_a_batch_is_packed_as_a_training_step_packs_it():
    run = step_pass(LLAMA, Query(0, 90, (0, 1)), PAIR, 8)
    assert run.decoder_rows * run.decoder_tokens == 8 * 91
    assert run.head_tokens == 8 * 2
    assert (
        step_pass(LLAMA, Query(0, 90, (0, 1)), PAIR, 640).decoder_rows
        == 10 * step_pass(LLAMA, Query(0, 90, (0, 1)), PAIR, 64).decoder_rows
    )


# --- against the tensors that are there


def counted(backbone):
    table = backbone.model.config.to_dict()
    dtype = str(backbone.dtype).removeprefix("torch.")
    return Model(backbone.sizes, backbone.family.elementwise(table), backbone.num_parameters, dtype)


def weights(backbone):
    return {tensor.data_ptr(): tensor for tensor in backbone.model.parameters()}.values()


def trained(backbone, name):
    """Train two steps of equally long examples; the second has an optimiser's state."""
    method, scoring = registry.method(name), cell.Scoring(end="eos" if backbone.is_encoder_decoder else "none")
    config = method.Config(**SMALL.get(name, {}))
    settings = cell.Training(**method.DEFAULTS | {"num_steps": 2, "batch_size": 6})
    text = " ".join(["premise"] * 50)
    examples = [[Example(row, text, ("yes", "no"), row % 2)] for row in range(6)]
    with Allocated(weights(backbone)) as there:
        tuning = Tuning(name, config, settings, examples)
        predictor = learn(tuning, backbone, scoring, lambda step, _: there.reset() if step == 1 else None)
    (run,) = predictor.work.passes
    peak = training(counted(backbone), run, Training(method.added(backbone.sizes, config), settings.optimizer))
    return peak.total, there.peak


@pytest.mark.parametrize("family", FAMILIES)
def test_training_takes_what_is_counted_on_each_family(family, backbone_of):
    said, found = trained(backbone_of(family), "ia3")
    assert said == pytest.approx(found, rel=CLOSE)


@pytest.mark.parametrize("name", [name for name in registry.METHODS if name != "ia3"])
def test_training_takes_what_is_counted_with_each_method(name, backbone_of):
    said, found = trained(backbone_of("llama"), name)
    assert said == pytest.approx(found, rel=CLOSE)


@pytest.mark.parametrize("name", ["lora", "full"])
def test_training_an_encoder_decoder_takes_what_is_counted(name, backbone_of):
    said, found = trained(backbone_of("t5"), name)
    assert said == pytest.approx(found, rel=CLOSE)


@pytest.mark.parametrize("shots", [0, 16])
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_scoring_takes_what_is_counted(family, shots, backbone_of):
    backbone = backbone_of(family)
    scoring = cell.Scoring(end="eos" if backbone.is_encoder_decoder else "none")
    before = "the premise says that the hypothesis does follow yes\n\n" * shots
    examples = [Example(row, f"{before}{'premise ' * (20 + row)}maybe", ("yes", "no"), 0) for row in range(8)]
    with Allocated(weights(backbone)) as there:
        work = score(backbone, examples, scoring).work
    assert memory.scoring(counted(backbone), work.passes).total == pytest.approx(there.peak, rel=CLOSE)


def test_what_is_there_is_added_up_and_taken_off_again():
    weight = torch.ones(10, 10)
    with Allocated([weight]) as there:
        double = weight + 1
        view = double.view(100)
        del double
        assert (there.now, there.peak) == (800, 800)
        del view
        assert (there.now, there.peak) == (400, 800)
        there.reset()
        weight += 1
        assert there.peak == 400
