"""Examples on their way to a model: inputs cut to a length, as both learners do it."""

from collections.abc import Sequence
from dataclasses import replace

from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import cut
from peftbench.tasks.task import Example


def shorten(backbone: Backbone, examples: Sequence[Example], max_input_tokens: int | None) -> tuple[list[Example], int]:
    """Cut each example's input to its first tokens; answers are never cut.

    Args:
        backbone: Its tokenizer counts.
        examples: What is to be cut.
        max_input_tokens: None cuts nothing.

    Returns:
        The examples, and how many tokens were cut from them in all.
    """
    if max_input_tokens is None:
        return list(examples), 0
    pieces = [cut(backbone, example.input, max_input_tokens) for example in examples]
    short = [replace(example, input=text) for example, (text, _) in zip(examples, pieces, strict=True)]
    return short, sum(num_cut for _, num_cut in pieces)
