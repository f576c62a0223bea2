"""Parts of a batch that are run one after another, their gradients added up: a step with less memory.

A loss is a mean over the batch, of examples or of answer tokens; what a part adds to it is the part's own mean times
the share of the batch's examples or tokens that the part has.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded
from peftbench.spec.cell import Training

Item = TypeVar("Item")


def cut(batch: Sequence[Item], number: int) -> list[Sequence[Item]]:
    """Cut a batch into parts of equal size, the first ones one example larger where it does not come out even.

    Args:
        batch: At least as many examples as parts.
        number: Of parts.
    """
    size, num_larger = divmod(len(batch), number)
    starts = [index * size + min(index, num_larger) for index in range(number + 1)]
    return [batch[start:end] for start, end in itertools.pairwise(starts)]


def shares(part: Sequence[Encoded], batch: Sequence[Encoded], training: Training) -> dict[str, float]:
    """Compute the share of a batch that a part has, in each loss.

    Args:
        part: Some of the batch's examples.
        batch: All of them.
        training: Which losses, in which form.
    """
    names = ("lm_loss", "unlikelihood_loss", "length_norm_loss")
    of_examples = dict.fromkeys(names, len(part) / len(batch))
    if training.loss_form == "paper":
        return of_examples
    right, wrong = (sum(_answer_tokens(example, is_right) for example in batch) for is_right in (True, False))
    of_right, of_wrong = (sum(_answer_tokens(example, is_right) for example in part) for is_right in (True, False))
    return of_examples | {"lm_loss": of_right / right, "unlikelihood_loss": of_wrong / wrong if wrong else 0.0}


def _answer_tokens(example: Encoded, is_right: bool) -> int:
    """Count the answer tokens of the right choice, or of all others."""
    counts = [len(ids) - start for ids, start in zip(example.choices, example.starts, strict=True)]
    right = counts[example.label]
    return right if is_right else sum(counts) - right


@contextmanager
def checkpointed(backbone: Backbone, is_on: bool) -> Iterator[None]:
    """Let layers keep what enters them alone in training, and compute the rest again in the backward pass.

    Layers are run again as a whole, so that what is run is known, and draw the same dropout. Inputs need no gradient
    for that, which transformers would give them, and with it a backward pass down to the embeddings.
    """
    if is_on:
        backbone.model.activation_checkpointing_enable({"use_reentrant": False, "early_stop": False})
        backbone.model.disable_input_require_grads()
    try:
        yield
    finally:
        if is_on:
            backbone.model.activation_checkpointing_disable()
