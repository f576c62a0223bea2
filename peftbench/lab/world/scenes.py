"""A scene: someone does something to a thing, somewhere. How it reads in words.

What belongs here: sentences from given parts. What does not: drawing the parts (world.py).
"""

import random
from dataclasses import dataclass, replace

from peftbench.lab.world.lexicon import Adjective, Noun, Person, Place, Verb, with_article

# What stands in braces is filled by `Scene.fields`; {at} and {when} bring their own space or are empty.
EVENTS = (
    "{who} {past} {a}{at}{when}.",
    "{who} {past} {the}{at}{when}.",
    "{When}{who} {past} {a}{at}.",
    "{At}{who} {past} {a}{when}.",
    "{A} was {participle} by {who}{at}{when}.",
    "It was {who} who {past} {the}{at}{when}.",
)
STATES = (
    "There was {a}{at}{when}.",
    "{At}there was {a}{when}.",
    "{A} turned up{at}{when}.",
    "{who} talked about {a}{at}{when}.",
    "{who} had {a}{at}{when}.",
)


@dataclass(frozen=True)
class Scene:
    """Who did what to which thing, with the parts that may be missing as None.

    `quality` is an adjective's or a mark's word; `verb` None makes a scene in which a thing is merely there.
    """

    who: Person
    verb: Verb | None
    thing: Noun
    quality: str | None = None
    place: Place | None = None
    time: str | None = None

    @property
    def noun_phrase(self) -> str:
        """The thing with its quality, without article: "ripe pear"."""
        return f"{self.quality} {self.thing.word}" if self.quality else self.thing.word

    @property
    def a_thing(self) -> str:
        """The thing with its quality and the indefinite article: "a ripe pear"."""
        return with_article(self.noun_phrase, self.thing.mass)

    @property
    def where(self) -> str:
        """The place with its preposition: "at the beach"."""
        return where(self.place) if self.place else ""

    def but(self, **parts: object) -> "Scene":
        """Copy this scene with other parts."""
        return replace(self, **parts)  # type: ignore[arg-type]

    def patterns(self) -> tuple[str, ...]:
        """All patterns that can word this scene."""
        return EVENTS if self.verb else STATES

    def tell(self, pattern: str) -> str:
        """Fill one pattern and start it with a capital."""
        return capital(pattern.format(**self.fields()))

    def text(self, rng: random.Random) -> str:
        """Word this scene in one of its patterns."""
        return self.tell(rng.choice(self.patterns()))

    def fields(self) -> dict[str, str]:
        """Return the fields that patterns may name."""
        at = f" {self.where}" if self.place else ""
        when = f" {self.time}" if self.time else ""
        return {
            "who": self.who.name,
            "past": self.verb.past if self.verb else "",
            "participle": self.verb.participle if self.verb else "",
            "base": self.verb.base if self.verb else "",
            "a": self.a_thing,
            "A": self.a_thing,
            "the": f"the {self.noun_phrase}",
            "at": at,
            "At": f"{at.strip()}, " if at else "",
            "when": when,
            "When": f"{when.strip()}, " if when else "",
        }


def where(place: Place) -> str:
    """The place with its preposition."""
    return f"{place.preposition} the {place.word}"


def capital(text: str) -> str:
    """Start `text` with a capital letter."""
    return text[0].upper() + text[1:]


def describes(adjective: Adjective, noun: Noun) -> bool:
    """Whether people say this of such a thing (no "deafening apple")."""
    if adjective.dimension == "noise":
        return noun.kind == "animal" or noun.category in ("instrument", "machine", "vehicle", "disaster", "toy")
    if noun.category == "disaster":
        return adjective.dimension in ("size", "quality")
    if adjective.dimension == "light":
        return noun.kind in ("object", "plant")
    if adjective.dimension == "touch":
        return not noun.mass
    return True
