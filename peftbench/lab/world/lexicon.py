"""The world's words as typed entries, read from words.toml.

What belongs here: words and what they mean. What does not: sentences (scenes.py) and anything drawn by chance.
"""

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path

WORDS_FILE = Path(__file__).with_name("words.toml")
VOWELS = "aeiou"
MASS_KINDS = ("meat", "fish", "food", "furniture", "clothing")  # categories and kinds that take "some"


@dataclass(frozen=True)
class Noun:
    """A thing. `mass` nouns take "some" where others take "a"; `typical` adjectives suit only its category."""

    word: str
    category: str
    kind: str
    mass: bool
    typical: tuple[str, ...]


@dataclass(frozen=True)
class Adjective:
    """A quality: one of the two poles of a dimension."""

    word: str
    dimension: str
    pole: str


@dataclass(frozen=True)
class Verb:
    """An act on a thing; verbs of one `group` mean the same. `suits` holds the categories it takes."""

    base: str
    past: str
    participle: str
    group: str
    opposite: str
    suits: frozenset[str]


@dataclass(frozen=True)
class Place:
    """Somewhere: `kind` is what it belongs to (coast, farm, ...), `side` is inside or outside."""

    word: str
    kind: str
    side: str
    preposition: str


@dataclass(frozen=True)
class Person:
    """Someone with a name and a gender."""

    name: str
    gender: str

    @property
    def pronoun(self) -> str:
        """She or he."""
        return "she" if self.gender == "female" else "he"


@dataclass(frozen=True)
class Need:
    """A lack: the states that it puts people in, what they do about it, and what they wish to do."""

    name: str
    states: tuple[str, ...]
    deeds: tuple[str, ...]
    wish: str


@dataclass(frozen=True)
class Sense:
    """One of the two meanings of a homograph: a gloss, and predicates that only this meaning takes."""

    word: str
    gloss: str
    cues: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """All words. Pairs such as `motions` hold (base, past, class)."""

    nouns: tuple[Noun, ...]
    adjectives: tuple[Adjective, ...]
    verbs: tuple[Verb, ...]
    places: tuple[Place, ...]
    people: tuple[Person, ...]
    needs: tuple[Need, ...]
    senses: tuple[tuple[Sense, Sense], ...]
    motions: tuple[tuple[str, str, str], ...]
    voices: tuple[tuple[str, str, str], ...]
    times: tuple[tuple[str, str], ...]
    feelings: tuple[tuple[str, str, str], ...]
    jobs: tuple[tuple[str, str], ...]
    colours: tuple[str, ...]
    reserved: tuple[str, ...]


def with_article(phrase: str, mass: bool = False) -> str:
    """Put a, an or some before `phrase`."""
    if mass:
        return f"some {phrase}"
    vowel = phrase[0] in VOWELS and not phrase.startswith("use")
    return f"an {phrase}" if vowel else f"a {phrase}"


def a_kind(name: str) -> str:
    """Name a category or a broader kind with its article: "a fruit", "some furniture"."""
    return with_article(name, name in MASS_KINDS)


@functools.cache
def lexicon() -> Lexicon:
    """Read words.toml once."""
    tables = tomllib.loads(WORDS_FILE.read_text(encoding="ascii"))
    nouns = _nouns(tables["nouns"])
    return Lexicon(
        nouns=nouns,
        adjectives=_adjectives(tables["adjectives"]),
        verbs=_verbs(tables["verbs"], nouns),
        places=tuple(Place(w, k, s, p) for k, (s, p, ws) in tables["places"].items() for w in ws.split()),
        people=tuple(Person(n, gender) for gender, names in tables["people"].items() for n in names.split()),
        needs=tuple(
            Need(name, tuple(states.split()), tuple(deeds.split("|")), wish)
            for name, (states, deeds, wish) in tables["needs"].items()
        ),
        senses=tuple((_sense(w, a), _sense(w, b)) for w, (a, b) in tables["homographs"].items()),
        motions=_pairs(tables["motions"]),
        voices=_pairs(tables["voices"]),
        times=tuple((text, half) for half, texts in tables["times"].items() for text in texts.split(", ")),
        feelings=tuple((w, name, pole) for name, (pole, ws) in tables["feelings"].items() for w in ws.split()),
        jobs=tuple(tables["jobs"].items()),
        colours=tuple(tables["marks"]["colours"].split()),
        reserved=tuple(tables["marks"]["reserved"].split()),
    )


def _nouns(table: dict[str, list[str]]) -> tuple[Noun, ...]:
    return tuple(
        Noun(word.rstrip("~"), category, kind, word.endswith("~"), tuple(typical.split()))
        for category, (kind, typical, words) in table.items()
        for word in words.split()
    )


def _adjectives(table: dict[str, list[str]]) -> tuple[Adjective, ...]:
    return tuple(
        Adjective(word, dimension, pole)
        for dimension, (pole_a, words_a, pole_b, words_b) in table.items()
        for pole, words in ((pole_a, words_a), (pole_b, words_b))
        for word in words.split()
    )


def _verbs(table: dict[str, list[str]], nouns: tuple[Noun, ...]) -> tuple[Verb, ...]:
    kinds = {noun.category: noun.kind for noun in nouns}
    return tuple(
        Verb(*_three(forms), group, opposite, _suits(scope, kinds))
        for group, (scope, opposite, words) in table.items()
        for forms in words.split(", ")
    )


def _three(forms: str) -> tuple[str, str, str]:
    base, past, participle = forms.split()
    return base, past, participle


def _suits(scope: str, kinds: dict[str, str]) -> frozenset[str]:
    """Read "*-disaster" or "food wild_beast" as a set of categories."""
    suited: set[str] = set()
    for word in scope.replace("-", " -").split():
        name = word.lstrip("-").replace("_", " ")
        named = {c for c, kind in kinds.items() if name in ("*", c, kind)}
        suited = suited - named if word.startswith("-") else suited | named
    return frozenset(suited)


def _sense(word: str, entry: str) -> Sense:
    gloss, cues = entry.split(": ")
    return Sense(word, gloss, tuple(cues.split(", ")))


def _pairs(table: dict[str, str]) -> tuple[tuple[str, str, str], ...]:
    return tuple((*pair.split(), name) for name, pairs in table.items() for pair in pairs.split(", "))  # type: ignore[misc]
