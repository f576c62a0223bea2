"""mini-t0's training text: (input, target) pairs of 26 families, each in several wordings, as T0's mixture was.

No held-out or validation family is among them; tests/lab/text/test_split.py proves it over what is drawn here.
"""

import functools
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peftbench.lab.text.train_tasks import (
    draw_scene,
    event,
    extraction,
    multiple_choice,
    paraphrase,
    question,
    reworded,
    sentiment,
    topic,
    yes_no,
)
from peftbench.lab.world.lexicon import Adjective, a_kind, lexicon, with_article
from peftbench.lab.world.scenes import Scene, capital
from peftbench.lab.world.world import TRAIN, World

RESERVED = lexicon().reserved
WORDINGS_FILE = Path(__file__).with_name("wordings.toml")
Fields = dict[str, Any]
Maker = Callable[[World, random.Random], Fields]

# what an attribute is called in a question
NOUNS = {
    "category": "kind", "kind": "sort", "place": "area", "side": "spot", "gender": "person", "half": "time",
    "feeling": "mood", "motion": "pace", "voice": "voice",
}  # fmt: skip


@functools.cache
def wordings() -> dict[str, dict[str, Any]]:
    """Read wordings.toml once."""
    return tomllib.loads(WORDINGS_FILE.read_text(encoding="ascii"))


def pairs(world: World) -> Callable[[random.Random], tuple[str, str]]:
    """Make the function that draws one (input, target) pair; all its chance comes from the generator it is given."""
    table = wordings()
    names, weights = list(table["weights"]), list(table["weights"].values())

    def draw(rng: random.Random) -> tuple[str, str]:
        return draw_pair(world, rng, rng.choices(names, weights)[0])

    return draw


def draw_pair(world: World, rng: random.Random, family: str) -> tuple[str, str]:
    """Draw one (input, target) pair of a family, in one of its wordings."""
    table = wordings()
    if family in table["classes"]:
        text, *answers = rng.choice(table["classes"][family])
        label = rng.randrange(len(answers))
        return text.format(**CLASSES[family](world, rng, label)), answers[label]
    source, target = rng.choice(table["generate"][family]).format(**GENERATE[family](world, rng)).split("|||")
    return source.strip(), target.strip()


# -- classes: (world, rng, class) -> fields ----------------------------------------------------------------------------


def _has(world: World, rng: random.Random, label: int) -> Fields:
    attribute = rng.choice(list(world.attributes))
    true, false = rng.sample(world.attributes[attribute], 2)
    text = world.item(rng, attribute, true, _level(rng))
    return {"text": text, "noun": NOUNS.get(attribute, attribute), "label": (true, false)[label]}


def _known(world: World, rng: random.Random, label: int) -> Fields:
    question_word = rng.choice(("where", "when"))
    slot = {"where": "place", "when": "time"}[question_word]
    value: object = None
    if label == 0:
        value = world.place(rng) if slot == "place" else rng.choice(world.words.times)[0]
    _, text = draw_scene(rng, lambda: world.scene(rng, **{slot: value}), TRAIN)
    return {"text": text, "what": f"{question_word} it was"}


def _contains(world: World, rng: random.Random, label: int) -> Fields:
    noun = world.noun(rng)
    name = rng.choice((noun.category, noun.kind))
    while label == 1 and name in (noun.category, noun.kind):
        stranger = world.noun(rng)
        name = rng.choice((stranger.category, stranger.kind))
    return {"a": with_article(noun.word, noun.mass), "b": a_kind(name)}


CLASSES: dict[str, Callable[[World, random.Random, int], Fields]] = {
    "sentiment": sentiment,
    "topic": topic,
    "yes_no": yes_no,
    "known": _known,
    "paraphrase": paraphrase,
    "has": _has,
    "contains": _contains,
}


# -- generation: (world, rng) -> fields, the target's among them -------------------------------------------------------


def _level(rng: random.Random) -> str:
    return rng.choices(("word", "phrase", "sentence"), (1, 2, 5))[0]


def _continue(world: World, rng: random.Random) -> Fields:
    words = world.passage(rng).split()
    cut = rng.randint(2, min(len(words) - 1, 20))
    end = " ".join(words[cut : cut + 12])
    if end.strip(".,").lower() in RESERVED:
        return _continue(world, rng)
    return {"start": " ".join(words[:cut]), "end": end}


def _fill(world: World, rng: random.Random) -> Fields:
    words = (world.passage(rng) if rng.random() < 0.5 else rng.choice((world.fact, world.sentence))(rng)).split()
    gap = RESERVED[0]
    while gap.strip(".,").lower() in RESERVED:  # their place is never a target of its own
        length = rng.randint(1, min(3, len(words) - 1))
        start = rng.randrange(len(words) - length + 1)
        gap = " ".join(words[start : start + length])
    return {"text": " ".join([*words[:start], "___", *words[start + length :]]), "gap": gap}


def _attribute(world: World, rng: random.Random) -> Fields:
    attribute = rng.choice(("category", "category", "kind", "place", *world.attributes))
    options = list(world.attributes[attribute])
    rng.shuffle(options)
    options = options[: rng.randint(2, 4)]
    label = rng.choice(options)
    text = world.item(rng, attribute, label, _level(rng))
    listed = " or ".join([", ".join(options[:-1]), options[-1]])
    return {"text": text, "noun": NOUNS.get(attribute, attribute), "options": listed, "label": label}


def _legend(world: World, rng: random.Random) -> Fields:
    attribute = rng.choice(("category", "place", *world.attributes))
    groups = world.grouping(rng, attribute)
    words = rng.sample(world.label_words, 2)
    side = rng.randrange(2)
    text = world.item(rng, attribute, rng.choice(groups[side]), _level(rng))
    meanings = [" and ".join(group) for group in groups]
    legend = {"a": words[0], "b": words[1], "x": meanings[0], "y": meanings[1]}
    return {"text": text, **legend, "answer": words[side]}


def _choice(world: World, rng: random.Random) -> Fields:
    row = multiple_choice(world, rng, rng.randrange(2), TRAIN)
    return {**row, "answer": row["option_b" if row["label"] else "option_a"]}


def _extraction(world: World, rng: random.Random) -> Fields:
    label = rng.randrange(3)
    row: Fields = extraction(world, rng, label, TRAIN)
    return {**row, "answer": row["options"][label]}


def _draw_event(world: World, rng: random.Random) -> tuple[Scene, str]:
    return draw_scene(rng, lambda: event(world, rng, TRAIN), TRAIN)


def _rewrite(world: World, rng: random.Random) -> Fields:
    scene, text = _draw_event(world, rng)
    return {"text": text, "other": reworded(world, rng, scene).text(rng)}


def _shorten(world: World, rng: random.Random) -> Fields:
    scene, text = _draw_event(world, rng)
    return {"text": text, "short": scene.but(quality=None, place=None, time=None).tell("{who} {past} {a}.")}


def _general(world: World, rng: random.Random) -> Fields:
    scene, text = _draw_event(world, rng)
    kind = a_kind(rng.choice((scene.thing.category, scene.thing.kind)))
    return {"text": text, "general": f"{scene.who.name} {scene.fields()['past']} {kind}."}


def _opposite(world: World, rng: random.Random) -> Fields:
    if rng.random() < 0.5:
        noun = world.noun(rng)
        quality = world.adjective(rng, noun)
        opposite = rng.choice(_near(world, quality, same=False))
        return {"text": f"The {noun.word} was {quality.word}.", "other": f"The {noun.word} was {opposite.word}."}
    scene, text = _draw_event(world, rng)
    return {"text": text, "other": scene.but(quality=None).tell("{who} did not {base} {a}.")}


def _near(world: World, adjective: Adjective, same: bool) -> list[Adjective]:
    near = [a for a in world.words.adjectives if a.dimension == adjective.dimension and a != adjective]
    return [a for a in near if (a.pole == adjective.pole) == same]


def _relation(world: World, rng: random.Random) -> Fields:
    same = rng.random() < 0.5
    adjective = rng.choice(world.words.adjectives)
    related = rng.choice(_near(world, adjective, same) or _near(world, adjective, not same)).word
    word = adjective.word
    wrong = rng.choice(world.words.adjectives).word
    if rng.random() < 0.4:
        verb = rng.choice([v for v in world.words.verbs if v.opposite])
        groups = (verb.group,) if same else (verb.opposite,)
        related = rng.choice([v.base for v in world.words.verbs if v.group in groups and v != verb])
        word = verb.base
        wrong = rng.choice(world.words.verbs).base
    first, second = rng.sample((related, wrong), 2)
    relation = "much like" if same else "far from"
    return {"word": word, "other": related, "one": first, "two": second, "relation": relation}


def _needs(world: World, rng: random.Random) -> Fields:
    need, wrong = rng.sample(world.words.needs, 2)
    first, second = rng.sample((need.name, wrong.name), 2)
    return {
        "a_state": with_article(rng.choice(need.states)),
        "need": need.name,
        "wish": need.wish,
        "deed": rng.choice(need.deeds),
        "who": world.person(rng).name,
        "option_a": first,
        "option_b": second,
    }


def _work(world: World, rng: random.Random) -> Fields:
    (job, category), (other_job, other_category) = rng.sample(world.words.jobs, 2)
    noun = world.noun(rng, category)
    return {
        "job": job,
        "a_job": with_article(job),
        "an_other": with_article(other_job),
        "thing": noun.word,
        "a_thing": with_article(noun.word, noun.mass),
        "wrong": world.noun(rng, other_category).word,
    }


def _people(world: World, rng: random.Random) -> Fields:
    person = world.person(rng)
    job, likes = world.job[person.name], world.likes[person.name]
    sex = "woman" if person.gender == "female" else "man"
    return {"who": person.name, "a_job": with_article(job), "sex": sex, "likes": likes}


def _typical(world: World, rng: random.Random) -> Fields:
    noun = world.noun(rng)
    wrong = world.noun(rng, *(c for c in world.nouns_by_category if c != noun.category))
    first, second = rng.sample((noun.word, wrong.word), 2)
    typical = rng.choice(noun.typical)
    return {"typical": typical, "thing": noun.word, "one": first, "two": second, "category": noun.category}


def _meanings(world: World, rng: random.Random) -> Fields:
    first, second = rng.choice(world.words.senses)
    return {"word": first.word, "one": with_article(first.gloss), "two": with_article(second.gloss)}


def _order(world: World, rng: random.Random) -> Fields:
    text = world.sentence(rng)
    bag = text.rstrip(".").replace(",", "").lower().split()
    return {"bag": " ".join(rng.sample(bag, len(bag))), "text": text}


def _ask(world: World, rng: random.Random) -> Fields:
    scene, text = _draw_event(world, rng)
    return {"text": text, "question": capital(question(rng, scene, rng.choice(("who", "thing"))))}


GENERATE: dict[str, Maker] = {
    "continue": _continue,
    "fill": _fill,
    "attribute": _attribute,
    "legend": _legend,
    "choice": _choice,
    "extraction": _extraction,
    "rewrite": _rewrite,
    "shorten": _shorten,
    "general": _general,
    "opposite": _opposite,
    "relation": _relation,
    "needs": _needs,
    "needs_choice": _needs,
    "work": _work,
    "people": _people,
    "typical": _typical,
    "meanings": _meanings,
    "order": _order,
    "ask": _ask,
}
