"""Answers as classes: a trained layer on an encoder-only model's pooled state, in the place of its head."""

from collections.abc import Sequence

from peftbench.errors import ModelError
from peftbench.models.backbone import Backbone
from peftbench.scoring.encoded import Cloze, Encoded, tokenized
from peftbench.scoring.layout import MARK, Layout
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example


def encode(backbone: Backbone, queries: Sequence[Example], scoring: Scoring, layout: Layout) -> list[Encoded]:
    """Encode examples as texts by themselves; the answer choices are classes, by their order.

    Args:
        backbone: The model, with its classification layer or without.
        queries: Inputs with their answer choices.
        scoring: How they are answered.
        layout: What stands around them.

    Raises:
        ModelError: An example has another number of choices than there are classes.
    """
    number = backbone.sizes.num_classes
    for query in queries:
        if number and len(query.choices) != number:
            raise ModelError(
                f"a row has {len(query.choices)} answer choices, and the layer on the pooled state {number} classes",
                hint="--answer head takes tasks whose rows all have the same choices; --answer cloze takes any",
            )
    texts = [layout.prompt(query.input.replace(MARK, "")) for query in queries]  # no answer has a place in it
    encodings = tokenized(backbone, texts, special=True)
    return [
        Encoded(
            tuple(encoding.ids),
            tuple((index,) for index in range(len(query.choices))),
            (0,) * len(query.choices),
            query.label,
            cloze=Cloze((), (), mask=0, is_class=True),
        )
        for query, encoding in zip(queries, encodings, strict=True)
    ]


def num_classes(examples: Sequence[Sequence[Example]]) -> int:
    """Count the classes of training rows.

    Args:
        examples: The rows, each rendered by each of its templates.

    Raises:
        ModelError: Rows of a template bring their own choices, or templates have different numbers of them.
    """
    written = {example.choices for of_row in examples for example in of_row}
    num_templates = max(map(len, examples))
    numbers = {len(choices) for choices in written}
    if len(written) > num_templates or len(numbers) > 1:
        raise ModelError(
            "--answer head has a class for each answer choice, and rows have choices of their own",
            hint="--answer cloze scores what each row offers; or a task whose rows all have the same choices",
        )
    return numbers.pop()
