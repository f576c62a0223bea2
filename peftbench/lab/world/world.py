r"""The world: draws scenes, facts and labelled items, and keeps sentences of training apart from those of tasks.

Every sentence belongs by its checksum to one part, TRAIN or HELD. Training text is made of TRAIN sentences only, the
rows of all tasks of HELD sentences only, so that no row can stand in any training text, however much of it is drawn.

For few-shot episodes::

    world = World.generate(seed=0)
    world.attributes                        # {"category": ("fruit", ...), "size": ("big", "small"), ...}
    world.grouping(rng, "category", num_groups=2)            # (("fruit", "tool"), ("bird", "toy")), no held-out split
    world.item(rng, "category", "fruit", level="word")       # "pear"; "phrase": "a cold pear"; "sentence": a whole one
    world.label_words                       # words that may serve as random labels (held-out tasks own other ones)
    world.passage(rng)                      # a few sentences of plain text

Styles in which the tasks' templates speak (for training attributes, and never in a held-out task's wording):
``{text}\nWhich group, {a} or {b}? ||| {label}``, ``{text}\nLabel: ||| {label}``, ``Text: {text}\nGroup: ||| ..``,
``Note: {text}\nTray: ||| ..`` (any two nouns), ``Sort this into {a}, {b} or {c}.\n{text} ||| ..``,
``{a} or {b}? {text} ||| ..``, ``{first} / {second}\nSame group? ||| ..`` for pairs, and a question with its options,
``{text}\n{question}\n- {a}\n- {b}\n||| ..``.
"""

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from peftbench.lab.world.facts import FACTS
from peftbench.lab.world.items import ITEMS, quality_item
from peftbench.lab.world.lexicon import Adjective, Lexicon, Noun, Person, Place, Sense, Verb, lexicon
from peftbench.lab.world.scenes import Scene, capital, describes, where

TRAIN, HELD = "train", "held"
HELD_SHARE = 4  # one sentence in four is kept for the tasks' rows

# Classes that a held-out or validation task puts under one label. No training label may join two of one line.
HELD_OUT_GROUPS: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split(", "))
    for names in (
        "wild beast, weapon, disaster",  # hazard
        "mountain, forest, farm",  # region, upper
        "coast, river, town",  # region, lower
        "fruit, vegetable",  # diet
        "sweet, drink",  # diet
        "tool, machine, vehicle",  # shelf (validation)
        "clothing, toy, jewel",  # shelf (validation)
    )
)


def part_of(sentence: str) -> str:
    """Return a sentence's part, TRAIN or HELD."""
    return HELD if zlib.crc32(sentence.encode()) % HELD_SHARE == 0 else TRAIN


def draw_from(part: str, draw: Callable[[], str]) -> str:
    """Draw sentences until one belongs to `part`."""
    while part_of(sentence := draw()) != part:
        pass
    return sentence


@dataclass(frozen=True)
class World:
    """The words, and what holds for this world's people. Make it with `World.generate`.

    All draws take their chance from the `rng` that they are given: equal rng, equal text.
    """

    words: Lexicon
    job: Mapping[str, str]
    home: Mapping[str, Place]
    likes: Mapping[str, str]

    @classmethod
    def generate(cls, seed: int = 0) -> "World":
        """Draw what is true of each person in this world."""
        rng, words = random.Random(seed), lexicon()
        names = [person.name for person in words.people]
        categories = sorted({noun.category for noun in words.nouns} - {"disaster", "weapon", "wild beast"})
        return cls(
            words,
            {name: rng.choice(words.jobs)[0] for name in names},
            {name: rng.choice(words.places) for name in names},
            {name: rng.choice(categories) for name in names},
        )

    @cached_property
    def attributes(self) -> dict[str, tuple[str, ...]]:
        """Training attributes and their classes; `item` draws a text for each."""
        classes: dict[str, tuple[str, ...]] = {
            "category": _names(noun.category for noun in self.words.nouns),
            "kind": _names(noun.kind for noun in self.words.nouns),
            "place": _names(place.kind for place in self.words.places),
            "side": ("inside", "outside"),
            "gender": ("female", "male"),
            "half": ("day", "night"),
            "feeling": _names(name for _, name, _ in self.words.feelings),
            "motion": ("fast", "slow"),
            "voice": ("loud", "quiet"),
        }
        for adjective in self.words.adjectives:
            poles = classes.get(adjective.dimension, ())
            classes[adjective.dimension] = poles if adjective.pole in poles else (*poles, adjective.pole)
        return classes

    @cached_property
    def label_words(self) -> tuple[str, ...]:
        """Words that may be random labels: common words, none of which a held-out or validation task uses."""
        words = [noun.word for noun in self.words.nouns] + [adjective.word for adjective in self.words.adjectives]
        return (*words, *self.words.colours)

    def grouping(self, rng: random.Random, attribute: str, num_groups: int = 2) -> tuple[tuple[str, ...], ...]:
        """Draw disjoint groups of an attribute's classes; no group joins classes that a held-out task joins."""
        classes = list(self.attributes[attribute])
        while True:
            rng.shuffle(classes)
            size = rng.randint(1, max(1, min(3, len(classes) // num_groups)))
            groups = tuple(tuple(classes[i * size : (i + 1) * size]) for i in range(num_groups))
            if len(groups[-1]) == size and not any(joins_held_out(group) for group in groups):
                return groups

    # -- parts of scenes ------------------------------------------------------------------------------------------

    def noun(self, rng: random.Random, *categories: str) -> Noun:
        """Draw a noun of one of the categories or kinds, evenly over categories; of any if none is named."""
        name = rng.choice(categories or tuple(self.nouns_by_category))
        if name not in self.nouns_by_category:
            name = rng.choice([c for c, nouns in self.nouns_by_category.items() if nouns[0].kind == name])
        return rng.choice(self.nouns_by_category[name])

    @cached_property
    def nouns_by_category(self) -> dict[str, tuple[Noun, ...]]:
        """Category -> its nouns."""
        return {
            c: tuple(n for n in self.words.nouns if n.category == c)
            for c in _names(n.category for n in self.words.nouns)
        }

    @cached_property
    def verbs_by_category(self) -> dict[str, tuple[Verb, ...]]:
        """Category -> the verbs that take its nouns."""
        return {c: tuple(v for v in self.words.verbs if c in v.suits) for c in self.nouns_by_category}

    def person(self, rng: random.Random, *excluded: Person, gender: str | None = None) -> Person:
        """Draw a person, not one of `excluded`."""
        return rng.choice([p for p in self.words.people if p not in excluded and gender in (None, p.gender)])

    def adjective(
        self, rng: random.Random, noun: Noun, dimension: str | None = None, pole: str | None = None
    ) -> Adjective:
        """Draw an adjective that can be said of `noun`."""
        fits = [a for a in self.words.adjectives if dimension in (None, a.dimension) and pole in (None, a.pole)]
        return rng.choice([a for a in fits if describes(a, noun)] or fits)

    def quality(self, rng: random.Random, noun: Noun) -> str:
        """Draw any word that can stand before `noun`: adjective, typical adjective, colour or mark."""
        pool = rng.random()
        if pool < 0.6:
            return self.adjective(rng, noun).word
        if pool < 0.75:
            return rng.choice(noun.typical)
        return rng.choice(self.words.colours if pool < 0.87 else self.words.reserved)

    def place(self, rng: random.Random, *kinds: str) -> Place:
        """Draw a place of one of the kinds; of any if none is named."""
        return rng.choice([p for p in self.words.places if not kinds or p.kind in kinds])

    def scene(self, rng: random.Random, **fixed: object) -> Scene:
        """Draw a scene: person, verb, thing, and each of quality, place and time half of the time.

        Args:
            rng: The source of chance.
            **fixed: Parts of `Scene` that are given (a part may be fixed to None).
        """
        thing = fixed.get("thing") or self.noun(rng)
        assert isinstance(thing, Noun)
        parts: dict[str, object] = {
            "who": self.person(rng),
            "verb": rng.choice(self.verbs_by_category[thing.category]) if rng.random() < 0.75 else None,
            "thing": thing,
            "quality": self.quality(rng, thing) if rng.random() < 0.5 else None,
            "place": self.place(rng) if rng.random() < 0.5 else None,
            "time": rng.choice(self.words.times)[0] if rng.random() < 0.3 else None,
        }
        return Scene(**{**parts, **fixed})  # type: ignore[arg-type]

    # -- text -----------------------------------------------------------------------------------------------------

    def item(self, rng: random.Random, attribute: str, label: str, level: str = "sentence", part: str = TRAIN) -> str:
        """Draw a text of class `label` for a training attribute.

        Args:
            rng: The source of chance.
            attribute: One of `attributes`.
            label: One of the attribute's classes.
            level: "word", "phrase" or "sentence".
            part: Which part sentences are taken from.
        """
        if level == "sentence":
            return draw_from(part, lambda: ITEMS.get(attribute, quality_item)(self, rng, attribute, label)[2])
        word, phrase, _ = ITEMS.get(attribute, quality_item)(self, rng, attribute, label)
        return word if level == "word" else phrase

    def sentence(self, rng: random.Random, part: str = TRAIN) -> str:
        """Draw one sentence: a scene, or how someone feels, moves or speaks."""
        return draw_from(part, lambda: self._any_sentence(rng))

    def _any_sentence(self, rng: random.Random) -> str:
        if rng.random() < 0.7:
            return self.scene(rng).text(rng)
        attribute = rng.choice(("feeling", "motion", "voice", "size", "quality", "heat", "age", "light"))
        return ITEMS.get(attribute, quality_item)(self, rng, attribute, rng.choice(self.attributes[attribute]))[2]

    def fact(self, rng: random.Random) -> str:
        """Draw a sentence that always holds: what things are, what words mean, who people are, what people need."""
        return rng.choice(FACTS)(self, rng)

    def sense_sentence(self, rng: random.Random, sense: Sense, part: str = TRAIN) -> str:
        """Draw a sentence that uses a homograph in one of its senses."""
        frames = (
            "The {0} {1}.",
            "{2}, the {0} {1}.",
            "{3} said that the {0} {1}.",
            "The {0} {1} {4}.",
            "Then the {0} {1}.",
        )

        def draw() -> str:
            at, name, time = capital(where(self.place(rng))), self.person(rng).name, rng.choice(self.words.times)[0]
            return rng.choice(frames).format(sense.word, rng.choice(sense.cues), at, name, time)

        return draw_from(part, draw)

    def passage(self, rng: random.Random) -> str:
        """Draw two to four sentences of plain training text; half of it facts."""
        draws = (self.fact, self.sentence)
        return " ".join(rng.choice(draws)(rng) for _ in range(rng.randint(2, 4)))


def joins_held_out(classes: Sequence[str]) -> bool:
    """Whether two of these classes share a label in a held-out task."""
    return any(len(group.intersection(classes)) > 1 for group in HELD_OUT_GROUPS)


def _names(names: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))  # type: ignore[call-overload]
