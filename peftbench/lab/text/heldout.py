"""Rows of the held-out and validation families, on which no model is trained.

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
PLAIN_GROUPS = ("see", "find", "draw")  # verbs that do not give the thing's kind away


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
    """Word a scene with one or two of its details left out."""
    omitted = rng.choice((("quality",), ("place",), ("quality", "place")))
    return scene.but(**dict.fromkeys(omitted)).tell("{who} {past} {a}{at}.")


def _follows(world: World, rng: random.Random, scene: Scene) -> str:
    """Draw a sentence that must hold if `scene` does."""
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
    """Draw a sentence that cannot hold if `scene` does."""
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
    """Draw a sentence that may hold or not when `scene` does."""
    assert scene.verb
    bystander = world.person(rng, scene.who)
    thing = world.noun(rng, scene.thing.category)
    says = (
        lambda: _short(world, rng, scene.but(who=bystander)),
        lambda: _short(world, rng, world.scene(rng, who=scene.who, verb=scene.verb, thing=thing, place=None)),
        lambda: f"{bystander.name} was {scene.where}.",
        lambda: f"{scene.who.name} was {rng.choice(world.words.feelings)[0]}.",
        lambda: f"There was {world.scene(rng, place=None).a_thing}.",
    )
    return rng.choice(says)()


def _denied(scene: Scene) -> str:
    return scene.but(quality=None).tell("{who} did not {base} {a}.")


def _like(world: World, rng: random.Random, scene: Scene, same: bool) -> str:
    """Draw an adjective of the scene's quality's dimension, of the same or of the other pole."""
    quality = next(a for a in world.words.adjectives if a.word == scene.quality)
    fits = [a for a in world.words.adjectives if a.dimension == quality.dimension and (a.pole == quality.pole) == same]
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
        first, second = world.noun(rng), world.noun(rng)
        while second.category == first.category:
            second = world.noun(rng)
        meant = (first, second)[label]
        link = rng.choice(("stood beside", "was next to", "lay behind", "was far from", "came with"))
        text = f"The {first.word} {link} the {second.word}. It was {rng.choice(meant.typical)}."
        return text, "it", [f"the {first.word}", f"the {second.word}"]

    def people() -> tuple[str, str, list[str]]:
        first = world.person(rng)
        second = world.person(rng, gender="male" if first.gender == "female" else "female")
        meant = (first, second)[label]
        link = rng.choice(("met", "called", "sat with", "waited for", "thanked"))
        feeling = rng.choice(world.words.feelings)[0]
        text = f"{first.name} {link} {second.name} {where(world.place(rng))}. {capital(meant.pronoun)} was {feeling}."
        return text, meant.pronoun, [first.name, second.name]

    draw = rng.choice((things, things, people))
    while part_of((story := draw())[0]) != HELD:
        pass
    text, pronoun, options = story
    return {"text": text, "pronoun": pronoun, "option_a": options[0], "option_b": options[1], "label": label}


def completion(world: World, rng: random.Random, label: int) -> Row:
    """Draw the start of a story and two ends, one of which answers what the person lacks or does for a living."""

    def need() -> tuple[str, str, str]:
        lack: Need
        lack, unrelated = rng.sample(world.words.needs, 2)
        person = world.person(rng)
        start = rng.choice(("{} was {}, so {}", "{} felt {} and so {}")).format(
            person.name, rng.choice(lack.states), person.pronoun
        )
        return start, rng.choice(lack.deeds), rng.choice(unrelated.deeds)

    def work() -> tuple[str, str, str]:
        (job, category), (_, unrelated) = rng.sample(world.words.jobs, 2)
        person = world.person(rng)
        nouns = (world.noun(rng, category), world.noun(rng, unrelated))
        ends = [f"chose {with_article(noun.word, noun.mass)}" for noun in nouns]
        return f"{person.name} was {with_article(job)}, and at work {person.pronoun}", ends[0], ends[1]

    draw = rng.choice((need, need, work))
    while part_of((story := draw())[0]) != HELD:
        pass
    start, good, bad = story
    options = (good, bad) if label == 0 else (bad, good)
    return {"start": start, "option_a": options[0], "option_b": options[1], "label": label}


def sense(world: World, rng: random.Random, label: int) -> Row:
    """Draw two sentences with one homograph, in the same sense (0) or in two (1)."""
    sense_a, sense_b = rng.sample(rng.choice(world.words.senses), 2)
    first = world.sense_sentence(rng, sense_a, HELD)
    second = world.sense_sentence(rng, sense_a if label == 0 else sense_b, HELD)
    while second == first:
        second = world.sense_sentence(rng, sense_a, HELD)
    return {"first": first, "second": second, "word": sense_a.word, "label": label}


# -- validation --------------------------------------------------------------------------------------------------------


def same_kind(world: World, rng: random.Random, label: int) -> Row:
    """Draw two sentences about things of the same category (0) or of two (1)."""
    category_a, category_b = rng.sample(sorted(world.nouns_by_category), 2)
    pair = (category_a, category_a if label == 0 else category_b)
    texts = [draw_from(HELD, functools.partial(_kind_sentence, world, rng, name)) for name in pair]
    return {"first": texts[0], "second": texts[1], "label": label}


def _kind_sentence(world: World, rng: random.Random, category: str) -> str:
    thing = world.noun(rng, category)
    return world.scene(rng, thing=thing, verb=_plain_verb(world, rng), quality=None, place=None, time=None).text(rng)


def odd_one(world: World, rng: random.Random, label: int) -> Row:
    """Draw four words, one of which is of another category than the three others."""
    category, odd_category = rng.sample(sorted(world.nouns_by_category), 2)
    words = [noun.word for noun in rng.sample(world.nouns_by_category[category], 3)]
    words.insert(label, world.noun(rng, odd_category).word)
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
