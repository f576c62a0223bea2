"""FLOPs of writing: those of the kernels that run, and by hand."""

import pytest

from peftbench import registry
from peftbench.costs.count import prefill_flops
from peftbench.costs.kernels import kernel_flops
from peftbench.costs.of_generation import generation_flops
from peftbench.errors import CostError
from peftbench.methods.stages import Stages
from peftbench.scoring.encoding import num_virtual_tokens
from peftbench.scoring.generate import write
from peftbench.spec.decoding import Decoding
from tests.tiny import FAMILIES, tiny_backbone

CONTEXT, WRITTEN = 11, 5


def endless(family):
    """A model that writes as many tokens as it may."""
    backbone = tiny_backbone(family)
    backbone.tokenizer.eos_token = None
    return backbone


def start(backbone):
    return len(backbone.start_ids) if backbone.is_encoder_decoder else 1


@pytest.mark.parametrize("family", FAMILIES)
def test_counted_is_what_kernels_run(family):
    backbone = endless(family)
    (answer,) = write(backbone, [list(range(3, 3 + CONTEXT))], Decoding(max_new_tokens=WRITTEN))
    assert (answer.num_tokens, answer.context_tokens) == (WRITTEN, CONTEXT)
    run = kernel_flops(lambda: write(backbone, [list(range(3, 3 + CONTEXT))], Decoding(max_new_tokens=WRITTEN)))
    assert run == generation_flops(backbone.sizes, CONTEXT, WRITTEN, num_start=start(backbone))


@pytest.mark.parametrize("family", ["llama", "t5"])
@pytest.mark.parametrize("name", registry.METHODS)
def test_counted_is_what_kernels_run_with_a_method(name, family):
    backbone, method = endless(family), registry.method(name)
    stages = Stages(method, backbone, method.Config(), method.attach(backbone, method.Config()))
    added = method.added(backbone.sizes, method.Config())
    if num_virtual_tokens(backbone):  # a network that makes them goes when training has ended
        stages.finish()
    context = CONTEXT + num_virtual_tokens(backbone)
    run = kernel_flops(lambda: write(backbone, [list(range(3, 3 + CONTEXT))], Decoding(max_new_tokens=WRITTEN)))
    assert run == generation_flops(backbone.sizes, context, WRITTEN, added, num_start=start(backbone))


def test_what_prompts_share_is_run_once():
    backbone = endless("llama")
    prompts = [[*range(3, 33), 40], [*range(3, 33), 41]]
    run = kernel_flops(lambda: write(backbone, prompts, Decoding(max_new_tokens=WRITTEN)))
    each = generation_flops(backbone.sizes, 31, WRITTEN, shared_tokens=30)
    assert run == prefill_flops(backbone.sizes, 30) + 2 * each


def test_by_hand():
    sizes = tiny_backbone("gpt2").sizes
    one, two = (generation_flops(sizes, 1, number) for number in (1, 2))
    d, f, layers, heads = sizes.d_model, sizes.d_ff, sizes.num_decoder_layers, sizes.num_heads * sizes.d_kv
    token, head = layers * (2 * 4 * d * heads + 2 * 2 * d * f), 2 * d * sizes.vocab_size
    assert one == token + head + layers * 4 * heads * 1
    assert two == 2 * (token + head) + layers * 4 * heads * (1 + 2)


def test_beams_run_side_by_side_and_what_cannot_be_counted_is_refused():
    sizes = tiny_backbone("llama").sizes
    assert generation_flops(sizes, 9, 4, num_beams=3) == 3 * generation_flops(sizes, 9, 4)
    for wrong in ({"written_tokens": 0}, {"written_tokens": 1, "shared_tokens": 9}):
        with pytest.raises(CostError, match="tokens written after 9"):
            generation_flops(sizes, 9, **wrong)
    with pytest.raises(CostError, match="does not write"):
        generation_flops(tiny_backbone("t5").sizes, 9, 4, shared_tokens=3)
