"""Texts of one class of a training attribute, each as a word, a phrase and a sentence."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from peftbench.lab.world.lexicon import with_article
from peftbench.lab.world.scenes import capital, describes, where

if TYPE_CHECKING:
    from peftbench.lab.world.world import World

Item = tuple[str, str, str]


def _thing_item(world: World, rng: random.Random, attribute: str, label: str) -> Item:
    noun = world.noun(rng, label)
    scene = world.scene(rng, thing=noun)
    return noun.word, scene.but(quality=scene.quality or world.quality(rng, noun)).a_thing, scene.text(rng)


def _place_item(world: World, rng: random.Random, attribute: str, label: str) -> Item:
    place = rng.choice([p for p in world.words.places if label in (p.kind, p.side)])
    scene = world.scene(rng, place=place, quality=None)
    return place.word, where(place), scene.text(rng)


def _person_item(world: World, rng: random.Random, attribute: str, label: str) -> Item:
    person = world.person(rng, gender=label)
    scene = world.scene(rng, who=person, verb=rng.choice(world.words.verbs[:6]), time=None)
    return person.name, f"{person.name} and {scene.a_thing}", scene.text(rng)


def _time_item(world: World, rng: random.Random, attribute: str, label: str) -> Item:
    time = rng.choice([text for text, half in world.words.times if half == label])
    scene = world.scene(rng, time=time, quality=None)
    return time, f"{scene.a_thing} {time}", scene.text(rng)


def _feeling_item(world: World, rng: random.Random, attribute: str, label: str) -> Item:
    word = rng.choice([w for w, name, _ in world.words.feelings if name == label])
    name, at = world.person(rng).name, where(world.place(rng))
    sentence = rng.choice((f"{name} was {word} {at}.", f"{name} looked {word}.", f"{capital(at)}, {name} felt {word}."))
    return word, f"{with_article(word)} {rng.choice(world.words.jobs)[0]}", sentence


def _moving_item(world: World, rng: random.Random, attribute: str, label: str) -> Item:
    pairs = world.words.motions if attribute == "motion" else world.words.voices
    base, past, _ = rng.choice([pair for pair in pairs if pair[2] == label])
    name, place = world.person(rng).name, world.place(rng)
    if attribute == "motion":
        return base, f"{base} to the {place.word}", f"{name} {past} to the {place.word}."
    return base, f"{base} {where(place)}", f"{name} {past} something {where(place)}."


def quality_item(world: World, rng: random.Random, attribute: str, label: str) -> Item:
    """Draw a thing of a quality; `attribute` is the dimension and `label` the pole."""
    noun = world.noun(rng)
    adjective = world.adjective(rng, noun, attribute, label)
    while not describes(adjective, noun):
        noun = world.noun(rng)
    scene = world.scene(rng, thing=noun, quality=adjective.word)
    plain = f"The {noun.word}{' ' + scene.where if scene.place else ''} was {adjective.word}."
    return adjective.word, scene.a_thing, rng.choice((plain, scene.text(rng)))


ITEMS: dict[str, Callable[[World, random.Random, str, str], Item]] = {
    "category": _thing_item,
    "kind": _thing_item,
    "place": _place_item,
    "side": _place_item,
    "gender": _person_item,
    "half": _time_item,
    "feeling": _feeling_item,
    "motion": _moving_item,
    "voice": _moving_item,
}
