"""mini-gpt's stream: repeated random tokens, plain text, and few-shot episodes with random label words.

Random labels for random attributes alone teach a small model to copy labels, not to match them. What makes it match is
the order: token sequences that repeat, and bindings between random tokens, form the heads that look back for what
followed last time; then words, phrases and sentences are bound in the same way, in ever longer contexts and in many
styles. One row of a batch is one episode. In an episode only labels are learnt (its texts are random draws), in text
all tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerFast

from peftbench.lab.text.batches import Batch, Stream, causal_batch, step_random
from peftbench.lab.text.styles import draw_style
from peftbench.lab.world.world import TRAIN, World

LEVELS = ("word", "phrase", "sentence")
CHARS_PER_TOKEN = 7  # more than any text of the world has, so that an episode always fills its row
COPIES_OF_A_WORD = 20
NUM_SPECIAL = 3  # ids below this are pad, eos and unk


@dataclass(frozen=True)
class Stage:
    """A stretch of the curriculum.

    Args:
        steps: How long it lasts.
        length: Tokens a row.
        mix: Kind of row -> share: repeat, binding, text, word, phrase, sentence.
        bare_share: Share of episodes in which the label follows the text at once.
        plain_share: Share of those with no more than an arrow or a heading between them.
        tokens: Tokens a step, rows x length.
        focus: Attribute -> share of the episodes that are about it; the others are drawn evenly over all attributes.
    """

    steps: int
    length: int
    mix: dict[str, float] = field(default_factory=dict)
    bare_share: float = 0.0
    plain_share: float = 0.0
    tokens: int = 2048
    focus: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One row: token ids, the weight of each token's loss, and each token's shot (0-based; -1 outside labels)."""

    ids: list[int]
    weights: list[float]
    shots: list[int]
    labels: tuple[str, ...] = ()


def episode_stream(
    world: World,
    tokenizer: PreTrainedTokenizerFast,
    stages: list[Stage],
    seed: int,
    text_weight: float = 0.3,
) -> Stream:
    """Return the stream of the whole curriculum; after the last stage it stays there.

    Args:
        world: Gives words and sentences, of its training part.
        tokenizer: mini-gpt's.
        stages: In order.
        seed: Of the stream.
        text_weight: Weight of a token of plain text against a label's.
    """

    def stream(step: int) -> list[Batch]:
        rng = step_random(seed, step)
        stage = stage_at(stages, step)
        kinds, shares = list(stage.mix), list(stage.mix.values())
        rows = []
        for kind in rng.choices(kinds, shares, k=max(1, stage.tokens // stage.length)):
            if kind in LEVELS:
                rows.append(episode(world, tokenizer, rng, kind, stage))
            else:
                rows.append(_DRILLS[kind](world, tokenizer, rng, stage.length, text_weight))
        return [causal_batch([row.ids for row in rows], [row.weights for row in rows])]

    return stream


def stage_at(stages: list[Stage], step: int) -> Stage:
    """Return a step's stage."""
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return stages[-1]


def episode(
    world: World,
    tokenizer: PreTrainedTokenizerFast,
    rng: random.Random,
    level: str,
    stage: Stage,
    part: str = TRAIN,
) -> Row:
    """Draw an episode: groups of a training attribute's classes, each with a random label, and fill the row."""
    num_classes, length = rng.choice((2, 2, 2, 2, 3, 4)), stage.length
    attribute = _attribute(world, rng, num_classes, stage.focus)
    groups = world.grouping(rng, attribute, num_classes)
    labels = draw_labels(world, rng, len(groups))
    style = draw_style(rng, rng.sample(labels, len(labels)), world.label_words, stage.bare_share, stage.plain_share)
    text, spans = "", []
    while len(text) < length * CHARS_PER_TOKEN:
        group = rng.randrange(len(groups))
        prompt = style.prompt(world.item(rng, attribute, rng.choice(groups[group]), level=level, part=part))
        spans.append((len(text) + len(prompt), len(text) + len(prompt) + 1 + len(labels[group])))
        text += f"{prompt} {labels[group]}{style.separator}"
    return label_row(tokenizer, text, spans, length, tuple(labels))


def _attribute(world: World, rng: random.Random, num_classes: int, focus: dict[str, float]) -> str:
    """Draw an attribute of at least so many classes; those in focus have many, and take longer to learn."""
    if focus:
        point = rng.random()
        for name, share in focus.items():
            point -= share
            if point < 0:
                return name
    return rng.choice([name for name, classes in world.attributes.items() if len(classes) >= num_classes])


def draw_labels(world: World, rng: random.Random, num_labels: int) -> list[str]:
    """Draw different label words; now and then capitalised, or letters or numbers."""
    kind = rng.random()
    if kind < 0.08:
        return rng.sample("ABCDEFGH" if kind < 0.04 else "123456789", num_labels)
    words = rng.sample(world.label_words, num_labels)
    return [word.capitalize() for word in words] if kind < 0.2 else words


def label_row(
    tokenizer: PreTrainedTokenizerFast,
    text: str,
    spans: list[tuple[int, int]],
    length: int,
    labels: tuple[str, ...] = (),
) -> Row:
    """Tokenize an episode; tokens that end inside a label's span carry the loss.

    Args:
        tokenizer: A fast one (offsets).
        text: The whole episode.
        spans: (start, end) characters of each shot's label, with its joining space.
        length: Tokens to keep.
        labels: The label words, for evaluation.
    """
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"][:length], encoded["offset_mapping"][:length]
    shots, shot = [], 0
    for _, end in offsets:
        while shot < len(spans) and end > spans[shot][1]:
            shot += 1
        shots.append(shot if shot < len(spans) and end > spans[shot][0] else -1)
    return Row(ids, [float(shot >= 0) for shot in shots], shots, labels)


# -- rows without labels -----------------------------------------------------------------------------------------------


def _repeat(world: World, tokenizer: PreTrainedTokenizerFast, rng: random.Random, length: int, weight: float) -> Row:
    """Repeat a random sequence; the loss lies on the repetitions."""
    period = rng.randint(4, length // 2)
    first = [rng.choice(_pool(tokenizer, rng)) for _ in range(period)]
    ids = (first * (length // period + 1))[:length]
    return Row(ids, [0.0] * period + [1.0] * (length - period), [-1] * length)


def _binding(world: World, tokenizer: PreTrainedTokenizerFast, rng: random.Random, length: int, weight: float) -> Row:
    """Bind random tokens to few labels and ask again; the loss lies on labels of tokens seen before.

    Some rows have the same tokens between each key and its label, and after it, as prompts do; some hide the key among
    tokens that mean nothing, as sentences do.
    """
    pool = _pool(tokenizer, rng)
    keys = rng.sample(pool, rng.choice((2, 4, 8, 12)))
    labels = rng.sample(pool, rng.choice((2, 3, 4)))
    label_of = {key: rng.choice(labels) for key in keys}
    between = rng.sample(pool, rng.choice((0, 0, 1, 2, 4)))
    after = rng.sample(pool, rng.choice((0, 0, 1, 2, 4)))
    most_noise = rng.choice((0, 0, 2, 5))
    ids: list[int] = []
    weights: list[float] = []
    while len(ids) < length:
        key = rng.choice(keys)
        words = [key, *rng.choices(pool, k=rng.randint(0, most_noise))]
        rng.shuffle(words)
        weights += [0.0] * len(words + between) + [float(key in ids)] + [0.0] * len(after)
        ids += [*words, *between, label_of[key], *after]
    return Row(ids[:length], weights[:length], [-1] * length)


def _pool(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> range:
    """Tokens of a drill: half of the time 256 fixed ones, whose vectors are soon told apart; else all."""
    return range(len(tokenizer) - 256, len(tokenizer)) if rng.random() < 0.5 else range(NUM_SPECIAL, len(tokenizer))


def _text(world: World, tokenizer: PreTrainedTokenizerFast, rng: random.Random, length: int, weight: float) -> Row:
    """Fill a row with passages."""
    text = ""
    while len(text) < length * CHARS_PER_TOKEN:
        text += world.passage(rng) + "\n\n"
    ids = tokenizer(text)["input_ids"][:length]
    return Row(ids, [weight] * len(ids), [-1] * len(ids))


_DRILLS: dict[str, Callable[[World, PreTrainedTokenizerFast, random.Random, int, float], Row]] = {
    "repeat": _repeat,
    "binding": _binding,
    "text": _text,
}


# -- text for the tokenizer --------------------------------------------------------------------------------------------


def corpus(world: World, seed: int, num_rows: int = 3000) -> list[str]:
    """Draw the text that the tokenizer is trained on: passages, prompts in all styles, and every word by itself.

    The last part is there for rare words: one that is a single token is as easy to copy as a common one.
    """
    rng = random.Random(f"{seed}/corpus")
    texts = [world.passage(rng) for _ in range(num_rows)]
    for _ in range(num_rows // 3):
        labels = draw_labels(world, rng, 3)
        style = draw_style(rng, labels, world.label_words, 0.1, 0.2)
        texts.append(f"{style.prompt(world.sentence(rng))} {labels[0]}{style.separator}{labels[1]}")
    words = {word for text in texts for word in text.replace(".", " ").split() if word.isalpha() and word.islower()}
    return texts + sorted(words | {*world.label_words, *world.words.reserved}) * COPIES_OF_A_WORD
