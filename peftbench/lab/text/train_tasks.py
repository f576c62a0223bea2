"""Rows of the training families that are tasks too (group lab-train), on sentences that training never shows.

mixture.py teaches the same skills, in these wordings and in many others, on the world's TRAIN part.
"""

import random
from collections.abc import Callable

from peftbench.lab.world.lexicon import a_kind
from peftbench.lab.world.scenes import Scene
from peftbench.lab.world.world import TRAIN, World, draw_from, part_of

Row = dict[str, object]
Maker = Callable[[World, random.Random, int, str], Row]  # (world, rng, class, part) -> row
LIKING = {"good": "like", "bad": "hate"}
KINDS = ("food", "animal", "object", "plant")


def sentiment(world: World, rng: random.Random, label: int, part: str = TRAIN) -> Row:
    """Draw a remark that is positive (0) or negative (1)."""
    pole = ("good", "bad")[label]

    def draw() -> str:
        if rng.random() < 0.6:
            return world.item(rng, "quality", pole, part=part)
        thing = world.noun(rng, *(c for c in world.nouns_by_category if c not in ("disaster", "weapon")))
        verb = rng.choice([v for v in world.words.verbs if v.group == LIKING[pole]])
        return world.scene(rng, thing=thing, verb=verb, quality=None).text(rng)

    return {"text": draw_from(part, draw), "label": label}


def topic(world: World, rng: random.Random, label: int, part: str = TRAIN) -> Row:
    """Draw a sentence about one of the `KINDS`."""
    return {"text": world.item(rng, "kind", KINDS[label], part=part), "label": label}


def event(world: World, rng: random.Random, part: str) -> Scene:
    """Draw a scene in which someone does something."""
    while (scene := world.scene(rng)).verb is None:
        pass
    return scene


def draw_scene(rng: random.Random, draw: Callable[[], Scene], part: str) -> tuple[Scene, str]:
    """Draw scenes until the sentence of one belongs to `part`; return both."""
    while part_of(text := (scene := draw()).text(rng)) != part:
        pass
    return scene, text


def yes_no(world: World, rng: random.Random, label: int, part: str = TRAIN) -> Row:
    """Draw a sentence and a question about it whose answer is yes (0) or no (1)."""
    scene, text = draw_scene(rng, lambda: event(world, rng, part), part)
    about = rng.choice(("who", "thing", "place") if scene.place else ("who", "thing"))
    subject = scene if label == 0 else changed(world, rng, scene, about)
    return {"text": text, "question": question(rng, subject, about), "label": label}


def changed(world: World, rng: random.Random, scene: Scene, part: str) -> Scene:
    """Change one part of a scene: `part` is who, thing (for one of another category) or place."""
    if part == "who":
        return scene.but(who=world.person(rng, scene.who))
    if part == "place":
        return scene.but(place=rng.choice([p for p in world.words.places if p != scene.place]))
    assert scene.verb
    return scene.but(thing=world.noun(rng, *(c for c in world.nouns_by_category if c != scene.thing.category)))


def question(rng: random.Random, scene: Scene, about: str) -> str:
    """Ask whether a scene took place, in words that name the part `about`."""
    asks = {
        "who": ("Did {who} {base} {a}?", "Was it {who} who {past} {a}?", "Did {who} {base} something?"),
        "thing": (
            "Did {who} {base} {a}?",
            "Was {a} {participle}?",
            "Did {who} {base} {kind}?",
            "Is there {kind} in it?",
        ),
        "place": ("Was {who} {at}?", "Did {who} {base} {a} {at}?", "Did it happen {at}?"),
    }[about]
    fields = scene.but(quality=None).fields()
    return rng.choice(asks).format(**{**fields, "at": fields["at"].strip(), "kind": a_kind(scene.thing.category)})


def multiple_choice(world: World, rng: random.Random, label: int, part: str = TRAIN) -> Row:
    """Draw a sentence, a question and two answers, of which answer `label` is right."""
    scene, text = draw_scene(rng, lambda: event(world, rng, part), part)
    about = rng.choice(("who", "thing"))
    wrong = changed(world, rng, scene, about)
    if about == "who":
        ask, options = f"Who {scene.fields()['past']} it?", [scene.who.name, wrong.who.name]
    else:
        ask, options = f"What did {scene.who.name} {scene.fields()['base']}?", [scene.thing.word, wrong.thing.word]
    options = options[::-1] if label else options
    return {"text": text, "question": ask, "option_a": options[0], "option_b": options[1], "label": label}


def paraphrase(world: World, rng: random.Random, label: int, part: str = TRAIN) -> Row:
    """Draw a sentence and another wording of it (0), or one that says something else (1)."""
    scene, first = draw_scene(rng, lambda: event(world, rng, part), part)
    about = rng.choice(("who", "thing", "place") if scene.place else ("who", "thing"))
    second_scene = reworded(world, rng, scene if label == 0 else changed(world, rng, scene, about))
    while (second := second_scene.text(rng)) == first:
        pass
    return {"first": first, "second": second, "label": label}


def reworded(world: World, rng: random.Random, scene: Scene) -> Scene:
    """Replace a verb or an adjective by a word that means the same."""
    assert scene.verb
    verb = rng.choice([v for v in world.words.verbs if v.group == scene.verb.group])
    quality = next((a for a in world.words.adjectives if a.word == scene.quality), None)
    if quality is None:
        return scene.but(verb=verb)
    words = [a.word for a in world.words.adjectives if (a.dimension, a.pole) == (quality.dimension, quality.pole)]
    return scene.but(verb=verb, quality=rng.choice(words))


def extraction(world: World, rng: random.Random, label: int, part: str = TRAIN) -> Row:
    """Draw a sentence with a person, a thing and a place, and ask for one of the three; `label` is its position."""

    def draw() -> Scene:
        return event(world, rng, part).but(place=world.place(rng))

    scene, text = draw_scene(rng, draw, part)
    asks = ("Who is it about?", "What thing is it about?", "Where did it happen?")
    options = [scene.who.name, scene.thing.word, scene.place.word if scene.place else ""]
    return {"text": text, "question": asks[label], "options": options, "label": label}


# task -> (maker of a row, number of classes)
TRAIN_TASKS: dict[str, tuple[Maker, int]] = {
    "lab-sentiment": (sentiment, 2),
    "lab-topic": (topic, 4),
    "lab-yes-no": (yes_no, 2),
    "lab-choice": (multiple_choice, 2),
    "lab-paraphrase": (paraphrase, 2),
    "lab-extraction": (extraction, 3),
}
