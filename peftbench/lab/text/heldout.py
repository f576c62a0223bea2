"""Rows of the held-out and validation families: what no model is trained on.

Each maker draws one row (fields and label) for a wanted class. All its sentences come from the world's HELD part.
"""

import functools
import random
from collections.abc import Callable

from peftbench.lab.world.lexicon import Need, Place, a_kind, with_article
from peftbench.lab.world.scenes import Scene, capital, where
from peftbench.lab.world.world import HELD, World, draw_from, part_of

Row = dict[str, object]
Maker = Callable[[World, random.Random, int], Row]  # (world, rng, class) -> row

HAZARD = (
    ("wild beast", "weapon", "disaster"),
    ("furniture", "clothing", "flower", "bird", "instrument", "farm animal"),
)
REGION = (("mountain", "forest", "farm"), ("coast", "river", "town"))
DIET = (("meat",), ("fruit", "vegetable"), ("sweet", "drink"))
SHELF = (("tool", "machine", "vehicle"), ("clothing", "toy", "jewel"))
PLAIN_GROUPS = ("see", "find", "draw")  # verbs that give the thing's kind away to nobody


# -- attributes: one sentence in, an opaque label out ------------------------------------------------------------------


def _plain_verb(world: World, rng: random.Random) -> object:
    verbs = [verb for verb in world.words.verbs if verb.group in PLAIN_GROUPS]
    return rng.choice([*verbs, None, None])


def _about_thing(groups: tuple[tuple[str, ...], ...]) -> Maker:
    def make(world: World, rng: random.Random, label: int) -> Row:
        def draw() -> str:
            thing = world.noun(rng, *groups[label])
            quality = rng.choice((None, world.adjective(rng, thing).word))
            return world.scene(rng, thing=thing, verb=_plain_verb(world, rng), quality=quality, time=None).text(rng)

        return {"text": draw_from(HELD, draw), "label": label}

    return make


def region(world: World, rng: random.Random, label: int) -> Row:
    """Draw a sentence set at a place of one of two regions."""

    def draw() -> str:
        place = world.place(rng, *REGION[label])
        return world.scene(rng, place=place, verb=_plain_verb(world, rng), quality=None, time=None).text(rng)

    return {"text": draw_from(HELD, draw), "label": label}


# -- relations ---------------------------------------------------------------------------------------------------------


def _premise(world: World, rng: random.Random) -> Scene:
    """Draw an event with a quality that has an opposite, at a place."""
    while True:
        scene = world.scene(rng, place=world.place(rng), time=None)
        if scene.verb:
            return scene.but(quality=world.adjective(rng, scene.thing).word)


def _short(world: World, rng: random.Random, scene: Scene) -> str:
    """Say a scene with one or two of its details left out."""
    gone = rng.choice((("quality",), ("place",), ("quality", "place")))
    return scene.but(**dict.fromkeys(gone)).tell("{who} {past} {a}{at}.")


def _follows(world: World, rng: random.Random, scene: Scene) -> str:
    """Say something that must hold if `scene` does."""
    assert scene.verb
    synonyms = [v for v in world.words.verbs if v.group == scene.verb.group and v != scene.verb]
    opposites = [v for v in world.words.verbs if v.group == scene.verb.opposite]
    says = [
        lambda: _short(world, rng, scene),
        lambda: f"{scene.who.name} {scene.verb.past} {a_kind(scene.thing.category)}.",
        lambda: scene.but(quality=_like(world, rng, scene, same=True), place=None).tell("There was {a}."),
        lambda: f"{scene.who.name} was {scene.where}.",
        lambda: _short(world, rng, scene.but(verb=rng.choice(synonyms or [scene.verb]))),
    ]
    if opposites:
        says.append(lambda: _denied(scene.but(verb=rng.choice(opposites))))
    return rng.choice(says)()


def _conflicts(world: World, rng: random.Random, scene: Scene) -> str:
    """Say something that cannot hold if `scene` does."""
    assert scene.verb
    opposites = [v for v in world.words.verbs if v.group == scene.verb.opposite]
    says = [
        lambda: _denied(scene),
        lambda: f"The {scene.thing.word} was {_like(world, rng, scene, same=False)}.",
        lambda: f"{scene.who.name} was {where(_elsewhere(world, rng, scene))}.",
        lambda: f"Nobody {scene.verb.past} {a_kind(scene.thing.category)}.",
    ]
    if opposites:
        says.append(lambda: _short(world, rng, scene.but(verb=rng.choice(opposites))))
    return rng.choice(says)()


def _leaves_open(world: World, rng: random.Random, scene: Scene) -> str:
    """Say something that may hold or not when `scene` does."""
    assert scene.verb
    other = world.person(rng, scene.who)
    thing = world.noun(rng, scene.thing.category)
    says = (
        lambda: _short(world, rng, scene.but(who=other)),
        lambda: _short(world, rng, world.scene(rng, who=scene.who, verb=scene.verb, thing=thing, place=None)),
        lambda: f"{other.name} was {scene.where}.",
        lambda: f"{scene.who.name} was {rng.choice(world.words.feelings)[0]}.",
        lambda: f"There was {world.scene(rng, place=None).a_thing}.",
    )
    return rng.choice(says)()


def _denied(scene: Scene) -> str:
    return scene.but(quality=None).tell("{who} did not {base} {a}.")


def _like(world: World, rng: random.Random, scene: Scene, same: bool) -> str:
    """Draw an adjective of the scene's quality's dimension, of the same or of the other pole."""
    was = next(a for a in world.words.adjectives if a.word == scene.quality)
    fits = [a for a in world.words.adjectives if a.dimension == was.dimension and (a.pole == was.pole) == same]
    return rng.choice(fits).word


def _elsewhere(world: World, rng: random.Random, scene: Scene) -> Place:
    assert scene.place
    kind = scene.place.kind
    return rng.choice([p for p in world.words.places if p.kind != kind])


def _inference(says: tuple[Callable[[World, random.Random, Scene], str], ...]) -> Maker:
    def make(world: World, rng: random.Random, label: int) -> Row:
        while True:
            scene = _premise(world, rng)
            premise = scene.text(rng)
            hypothesis = says[label](world, rng, scene)
            if part_of(premise) == HELD and premise != hypothesis:
                return {"premise": premise, "hypothesis": hypothesis, "label": label}

    return make


def _breaks(world: World, rng: random.Random, scene: Scene) -> str:
    return rng.choice((_conflicts, _leaves_open))(world, rng, scene)


def coreference(world: World, rng: random.Random, label: int) -> Row:
    """Draw two things or two people and a pronoun that only one of them fits."""

    def things() -> tuple[str, str, list[str]]:
        one, other = world.noun(rng), world.noun(rng)
        while other.category == one.category:
            other = world.noun(rng)
        meant = (one, other)[label]
        link = rng.choice(("stood beside", "was next to", "lay behind", "was far from", "came with"))
        text = f"The {one.word} {link} the {other.word}. It was {rng.choice(meant.typical)}."
        return text, "it", [f"the {one.word}", f"the {other.word}"]

    def people() -> tuple[str, str, list[str]]:
        one = world.person(rng)
        other = world.person(rng, gender="male" if one.gender == "female" else "female")
        meant = (one, other)[label]
        link = rng.choice(("met", "called", "sat with", "waited for", "thanked"))
        feeling = rng.choice(world.words.feelings)[0]
        text = f"{one.name} {link} {other.name} {where(world.place(rng))}. {capital(meant.pronoun)} was {feeling}."
        return text, meant.pronoun, [one.name, other.name]

    draw = rng.choice((things, things, people))
    while part_of((found := draw())[0]) != HELD:
        pass
    text, pronoun, options = found
    return {"text": text, "pronoun": pronoun, "option_a": options[0], "option_b": options[1], "label": label}


def completion(world: World, rng: random.Random, label: int) -> Row:
    """Draw the start of a story and two ends, one of which answers what the person lacks or does for a living."""

    def need() -> tuple[str, str, str]:
        lack: Need
        lack, other = rng.sample(world.words.needs, 2)
        who = world.person(rng)
        start = rng.choice(("{} was {}, so {}", "{} felt {} and so {}")).format(
            who.name, rng.choice(lack.states), who.pronoun
        )
        return start, rng.choice(lack.deeds), rng.choice(other.deeds)

    def work() -> tuple[str, str, str]:
        (job, about), (_, other) = rng.sample(world.words.jobs, 2)
        who = world.person(rng)
        ends = [
            f"chose {with_article(noun.word, noun.mass)}" for noun in (world.noun(rng, about), world.noun(rng, other))
        ]
        return f"{who.name} was {with_article(job)}, and at work {who.pronoun}", ends[0], ends[1]

    draw = rng.choice((need, need, work))
    while part_of((found := draw())[0]) != HELD:
        pass
    start, good, bad = found
    options = (good, bad) if label == 0 else (bad, good)
    return {"start": start, "option_a": options[0], "option_b": options[1], "label": label}


def sense(world: World, rng: random.Random, label: int) -> Row:
    """Draw two sentences with one homograph, in the same sense (0) or in two (1)."""
    one, other = rng.sample(rng.choice(world.words.senses), 2)
    first = world.sense_sentence(rng, one, HELD)
    second = world.sense_sentence(rng, one if label == 0 else other, HELD)
    while second == first:
        second = world.sense_sentence(rng, one, HELD)
    return {"first": first, "second": second, "word": one.word, "label": label}


# -- validation --------------------------------------------------------------------------------------------------------


def same_kind(world: World, rng: random.Random, label: int) -> Row:
    """Draw two sentences about things of the same category (0) or of two (1)."""
    one, other = rng.sample(sorted(world.nouns_by_category), 2)
    pair = (one, one if label == 0 else other)
    texts = [draw_from(HELD, functools.partial(_kind_sentence, world, rng, name)) for name in pair]
    return {"first": texts[0], "second": texts[1], "label": label}


def _kind_sentence(world: World, rng: random.Random, category: str) -> str:
    thing = world.noun(rng, category)
    return world.scene(rng, thing=thing, verb=_plain_verb(world, rng), quality=None, place=None, time=None).text(rng)


def odd_one(world: World, rng: random.Random, label: int) -> Row:
    """Draw four words, one of which is of another category than the three others."""
    many, single = rng.sample(sorted(world.nouns_by_category), 2)
    words = [noun.word for noun in rng.sample(world.nouns_by_category[many], 3)]
    words.insert(label, world.noun(rng, single).word)
    return {"options": words, "label": label}


# task -> (maker of a row, number of classes)
HELD_OUT: dict[str, tuple[Maker, int]] = {
    "lab-nli2": (_inference((_follows, _breaks)), 2),
    "lab-nli3": (_inference((_follows, _leaves_open, _conflicts)), 3),
    "lab-coref": (coreference, 2),
    "lab-completion": (completion, 2),
    "lab-sense": (sense, 2),
    "lab-hazard": (_about_thing(HAZARD), 2),
    "lab-region": (region, 2),
    "lab-diet": (_about_thing(DIET), 3),
}
VALIDATION: dict[str, tuple[Maker, int]] = {
    "lab-shelf": (_about_thing(SHELF), 2),
    "lab-same-kind": (same_kind, 2),
    "lab-odd": (odd_one, 4),
}
