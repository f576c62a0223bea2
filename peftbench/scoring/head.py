"""Answers as classes: a trained layer on an encoder-only model's pooled state, in the place of its head."""

from collections.abc import Sequence

from peftbench.models.backbone import Backbone
from peftbench.scoring.encoded import Cloze, Encoded, tokenized
from peftbench.scoring.layout import Layout
from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Example


def encode(backbone: Backbone, queries: Sequence[Example], scoring: Scoring, layout: Layout) -> list[Encoded]:
    """Encode examples as texts by themselves; the answer choices are classes, by their order."""
    encodings = tokenized(backbone, [layout.prompt(query.input) for query in queries], special=True)
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
