"""Sentences that always hold: what things are, what words mean, who people are, what people need."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from peftbench.lab.world.lexicon import a_kind, with_article
from peftbench.lab.world.scenes import capital

if TYPE_CHECKING:
    from peftbench.lab.world.world import World


def _what_is(world: World, rng: random.Random) -> str:
    noun = world.noun(rng)
    name = rng.choice((noun.category, noun.kind))
    thing = capital(noun.word if noun.mass else with_article(noun.word))
    return rng.choice(
        (
            f"{thing} is {a_kind(name)}.",
            f"{thing} can be {rng.choice(noun.typical)}.",
            f"{capital(rng.choice(noun.typical))} things are often like {noun.word}.",
            f"{capital(noun.category)} is a sort of {noun.kind}.",
        )
    )


def _what_means(world: World, rng: random.Random) -> str:
    adjective = rng.choice(world.words.adjectives)
    related = rng.choice([a for a in world.words.adjectives if a.dimension == adjective.dimension and a != adjective])
    if related.pole == adjective.pole:
        return rng.choice(("{} means {}.", "{} is much like {}.")).format(capital(adjective.word), related.word)
    return rng.choice(("{} is the opposite of {}.", "{} is far from {}.")).format(capital(adjective.word), related.word)


def _what_verb(world: World, rng: random.Random) -> str:
    verb = rng.choice(world.words.verbs)
    groups = (verb.group, verb.opposite)
    related = rng.choice([v for v in world.words.verbs if v.group in groups and v != verb] or [verb])
    if related.group == verb.group:
        return f"To {verb.base} means to {related.base}."
    return f"To {verb.base} is the opposite of to {related.base}."


def _where_is(world: World, rng: random.Random) -> str:
    place = world.place(rng)
    return rng.choice(
        (f"{capital(with_article(place.word))} belongs to the {place.kind}.", f"The {place.word} is {place.side}.")
    )


def _who_is(world: World, rng: random.Random) -> str:
    person = world.person(rng)
    job = world.job[person.name]
    return rng.choice(
        (
            f"{person.name} is {with_article(job)}.",
            f"{person.name} lives near the {world.home[person.name].word}.",
            f"{person.name} loves every {world.likes[person.name]}.",
            f"{capital(with_article(job))} works with {world.noun(rng, dict(world.words.jobs)[job]).word}.",
            f"{person.name} said that {person.pronoun} was {rng.choice(world.words.feelings)[0]}.",
        )
    )


def _who_needs(world: World, rng: random.Random) -> str:
    need = rng.choice(world.words.needs)
    state, deed = rng.choice(need.states), rng.choice(need.deeds)
    return rng.choice(
        (
            f"{capital(with_article(state))} person lacks {need.name}.",
            f"{capital(with_article(state))} person wants to {need.wish}.",
            f"Whoever {deed} got {need.name}.",
            f"{capital(state)} people and {rng.choice(need.states)} people are alike.",
        )
    )


def _what_sense(world: World, rng: random.Random) -> str:
    sense = rng.choice(rng.choice(world.words.senses))
    draw = rng.randrange(3)
    if draw == 0:
        return f"{capital(with_article(sense.word))} can be {with_article(sense.gloss)}."
    if draw == 1:
        return f"As {with_article(sense.gloss)}, the {sense.word} {rng.choice(sense.cues)}."
    return world.sense_sentence(rng, sense)


FACTS: tuple[Callable[[World, random.Random], str], ...] = (
    _what_is,
    _what_is,
    _what_means,
    _what_verb,
    _where_is,
    _who_is,
    _who_needs,
    _what_sense,
)
