"""FLOPs of a cell whose method has no closed form: examples of its own lengths, run and looked at. Kind `traced`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from peftbench.costs.kernels import kernel_flops
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded
from peftbench.scoring.forward import choice_log_probs
from peftbench.scoring.score import Length

MOST = 16
"""Lengths that are traced, from the shortest to the longest, where there are more."""


@dataclass(frozen=True)
class Traced:
    """What was traced, the method attached as it was used.

    Args:
        inference: FLOPs of an example, the mean over the lengths that were traced.
        training: FLOPs of all examples that were trained on, forward and backward, by the mean over the same number
            of lengths.
        num_inference: Lengths that were traced for `inference`.
        num_training: Lengths that were traced for `training`.
    """

    inference: int
    training: int
    num_inference: int
    num_training: int


def trace_cell(backbone: Backbone, scored: Sequence[Length], trained: Mapping[Length, int]) -> Traced:
    """Trace one example at a time, its choices sharing its context.

    Args:
        backbone: With the method attached, what it trains requiring gradients.
        scored: Lengths of what was scored.
        trained: Length of an example -> how often one of it was trained on.
    """
    queries = _sampled(sorted(scored, key=_size))
    examples = _sampled(sorted((length for length, times in trained.items() for _ in range(times)), key=_size))
    with torch.no_grad():
        forward = [kernel_flops(lambda length=length: _loss(backbone, length)) for length in queries]  # type: ignore[misc]
    steps = [kernel_flops(lambda length=length: _loss(backbone, length).backward()) for length in examples]  # type: ignore[misc]
    backbone.model.zero_grad(set_to_none=True)
    total = Fraction(sum(steps), len(steps)) * sum(trained.values()) if steps else 0
    return Traced(round(Fraction(sum(forward), len(forward))), round(total), len(forward), len(steps))


def _sampled(lengths: Sequence[Length]) -> list[Length]:
    """Take evenly spaced lengths, the middle of each of MOST parts."""
    if len(lengths) <= MOST:
        return list(lengths)
    return [lengths[(2 * part + 1) * len(lengths) // (2 * MOST)] for part in range(MOST)]


def _size(length: Length) -> int:
    return length.context + sum(length.choices)


def _loss(backbone: Backbone, length: Length) -> torch.Tensor:
    """Run an example of this length, of tokens that do not matter."""
    more, words = backbone.sizes.num_fed_more, backbone.sizes.vocab_size
    choices = tuple(tuple((3 + n + i) % words for i in range(fed - more)) for n, fed in enumerate(length.choices))
    encoded = Encoded((3 % words,) * length.context, choices, (0,) * len(choices))
    return -choice_log_probs(backbone, [encoded], is_shared=False)[0].sum()
