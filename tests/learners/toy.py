"""A toy task: one word of a sentence decides; one template has two choices, the other two or three by row."""

from peftbench.spec.cell import Scoring
from peftbench.tasks.task import Row
from peftbench.tasks.template import Template

WORDS = ["the", "premise", "says", "that", "hypothesis", "does", "follow", "question", "answer"]


def row(number, label=None):
    """Write a row of five words."""
    label = number % 2 if label is None else label
    words = [WORDS[(number * step + step) % len(WORDS)] for step in range(1, 5)]
    text = " ".join([*words, ("no", "yes")[label]])
    return Row(number, {"text": text, "more": number % 3 == 0, "label": label}, label)


ROWS = [row(number) for number in range(12)]
TEMPLATE = Template("plain", 0, "{{text}}\nyes or no? ||| {{choice}}", ["negative", "positive"], "label")
RAGGED = Template(
    "ragged", 1, "question: {{text}} ||| {{choice}}", "false|||true{% if more %}|||maybe that{% endif %}", "label"
)


def scoring(backbone, **settings):
    """Give the scoring that a backbone's kind has by default."""
    return Scoring(**{"end": "eos" if backbone.is_encoder_decoder else "none", **settings})
