"""Prompts for tests: shots in common, queries of many lengths, choices of many lengths."""

import random
from collections.abc import Sequence

from peftbench.models.backbone import Backbone
from peftbench.scoring.encoding import Encoded, encode
from peftbench.spec.cell import End, Scoring
from peftbench.tasks.task import Example
from tests.tiny import TEXT

CHOICES = ("yes", "no maybe", "answer true xyz")
SEPARATOR = "\n\n"


def example(input: str, choices: Sequence[str], label: int = 0) -> Example:
    return Example(0, input, tuple(choices), label)


def encode_one(
    backbone: Backbone, input: str, choices: Sequence[str], *, end: End, separator: str, label: int = 0
) -> Encoded:
    (encoded,) = encode(backbone, [example(input, choices, label)], Scoring(end=end, separator=separator))
    return encoded


def prompts(count: int = 16, num_shots: int = 3, seed: int = 0) -> list[Example]:
    rng = random.Random(seed)
    shots = "".join(f"{_words(rng, 6)}\nquestion? yes{SEPARATOR}" for _ in range(num_shots))
    lengths = [rng.randint(1, 12) for _ in range(count)]
    return [example(f"{shots}{_words(rng, n)}\nquestion?", CHOICES[: 2 + n % 2]) for n in lengths]


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(TEXT.split()) for _ in range(count))
