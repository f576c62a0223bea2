"""Prompt styles of few-shot episodes: drawn once per episode, filled for each of its shots.

A model answers few-shot prompts only in styles like those it has seen, so the styles are composed of parts: what stands
before the text, what after it, whether the options are named, and what parts two shots.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

HEADS = ("Label", "Group", "Answer", "Tag", "Type", "Class", "Sort", "Mark", "Family", "Result", "Set", "Choice")
INTROS = ("Text", "Input", "Note", "Line", "Item", "Words", "Given", "Sentence")
BARE = ("",)
PLAIN = ("{text} ->", "{text} :", "{text} =", "{text}\n{head}:", "{text}\n{head} :", "{text} {head}:")
OPEN = (
    "{text}\n{head}:",
    "{text}\nWhich {word} is this?",
    "{text}\nWhat is the {word}?",
    "{text}\nWhich {word} does it belong to?\n{head}:",
    "{intro}: {text}\n{head}:",
    "{intro}: {text}\nQuestion: which {word}?\n{head}:",
    "Name the {word}.\n{text}",
    "Name the {word} of this.\n{intro}: {text}\n{head}:",
)
LISTED = (
    "{text}\nWhich {word}, {options}?",
    "{text}\n{Options}?",
    "{text}\nIs it {options}?",
    "{text}\nIs the {word} {options}?\n{head}:",
    "{text} {Options}?",
    "{Options}? {text}",
    "{Options}? {intro}: {text}\n{head}:",
    "Sort this into {options}.\n{text}",
    "Say {options}.\n{intro}: {text}\n{head}:",
    "{text}\nChoose from {commas}.\n{head}:",
    "{text}\nOptions: {commas}\n{head}:",
    "{intro}: {text}\nWhich {word}?\n{bullets}",
    "{text}\nWhich {word}?\n{bullets}\n{head}:",
    "{text}\n{bullets}",
)
SEPARATORS = ("\n\n", "\n\n", "\n\n", "\n\n", "\n", "\n", " ; ")


@dataclass(frozen=True)
class Style:
    """The prompt style of one episode's shots.

    Args:
        pattern: With fields {text}, {head}, {intro}, {word}, and the options in four forms.
        separator: Between two shots.
        fields: What fills the pattern, all but the text.
    """

    pattern: str
    separator: str
    fields: dict[str, str]

    def prompt(self, text: str) -> str:
        """Write the prompt that asks for the label of text."""
        return self.pattern.format(text=text, **self.fields) if self.pattern else text


def draw_style(
    rng: random.Random, options: Sequence[str], nouns: Sequence[str], bare_share: float, plain_share: float
) -> Style:
    """Draw a style for an episode.

    Args:
        rng: The source of chance.
        options: The episode's labels, in the order in which prompts list them.
        nouns: Words that may stand for "label" beside the usual ones.
        bare_share: How often nothing stands between a text and its label.
        plain_share: How often an arrow, a colon or a heading does; else a question, mostly with the options.
    """
    short = rng.random()
    plain = short < bare_share + plain_share
    patterns = BARE if short < bare_share else PLAIN if plain else OPEN if rng.random() < 0.4 else LISTED
    pattern = rng.choice(patterns)
    head = rng.choice(HEADS) if rng.random() < 0.6 else rng.choice(nouns).capitalize()
    listed = f"{', '.join(options[:-1])} or {options[-1]}"
    fields = {
        "head": head,
        "word": head.lower(),
        "intro": rng.choice(INTROS) if rng.random() < 0.7 else rng.choice(nouns).capitalize(),
        "options": listed,
        "Options": listed[0].upper() + listed[1:],
        "commas": ", ".join(options),
        "bullets": "\n".join(f"- {option}" for option in options),
    }
    separator = rng.choice(SEPARATORS if plain else SEPARATORS[:6])
    return Style(pattern, separator, fields)
