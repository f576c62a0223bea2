"""Prompts for the tests of this folder: shots in common, queries of many lengths, choices of many lengths."""

import random

from peftbench.scoring.encoding import Prompt
from tests.tiny import TEXT

CHOICES = ("yes", "no maybe", "answer true xyz")
SEPARATOR = "\n\n"


def prompts(count: int = 16, num_shots: int = 3, seed: int = 0) -> list[Prompt]:
    rng = random.Random(seed)
    shots = "".join(f"{_words(rng, 6)}\nquestion? yes{SEPARATOR}" for _ in range(num_shots))
    lengths = [rng.randint(1, 12) for _ in range(count)]
    return [Prompt(f"{shots}{_words(rng, n)}\nquestion?", CHOICES[: 2 + n % 2]) for n in lengths]


def _words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choice(TEXT.split()) for _ in range(count))
