"""The world: equal seeds give equal text, classes are what they claim, and the parts stay apart."""

import random

import pytest

from peftbench.lab.world.lexicon import lexicon, with_article
from peftbench.lab.world.world import HELD, HELD_OUT_GROUPS, TRAIN, World, part_of

WORLD = World.generate(0)


def test_equal_seeds_give_equal_text() -> None:
    draws = [[World.generate(3).passage(random.Random(7)) for _ in range(5)] for _ in range(2)]
    assert draws[0] == draws[1]


def test_people_differ_between_worlds() -> None:
    assert World.generate(0).job != World.generate(1).job


def test_the_world_has_about_a_thousand_words() -> None:
    words = lexicon()
    named = {n.word for n in words.nouns} | {a.word for a in words.adjectives} | {p.word for p in words.places}
    named |= {form for v in words.verbs for form in (v.base, v.past, v.participle)} | {p.name for p in words.people}
    assert 600 < len(named) < 1500


def test_no_noun_has_two_categories() -> None:
    nouns = [noun.word for noun in lexicon().nouns]
    assert len(nouns) == len(set(nouns))


@pytest.mark.parametrize("part", [TRAIN, HELD])
def test_sentences_belong_to_the_part_they_are_drawn_from(part: str) -> None:
    rng = random.Random(0)
    assert {part_of(WORLD.sentence(rng, part)) for _ in range(50)} == {part}


@pytest.mark.parametrize("attribute", sorted(WORLD.attributes))
@pytest.mark.parametrize("level", ["word", "phrase", "sentence"])
def test_every_class_of_every_attribute_can_be_drawn(attribute: str, level: str) -> None:
    rng = random.Random(0)
    assert all(WORLD.item(rng, attribute, label, level) for label in WORLD.attributes[attribute])


def test_a_category_item_names_a_noun_of_that_category() -> None:
    rng = random.Random(0)
    fruits = {noun.word for noun in WORLD.nouns_by_category["fruit"]}
    for _ in range(30):
        assert fruits & set(WORLD.item(rng, "category", "fruit").lower().strip(".").replace(",", "").split())


def test_an_adjective_item_is_of_the_asked_pole() -> None:
    rng = random.Random(0)
    big = {a.word for a in lexicon().adjectives if a.pole == "big"}
    assert {WORLD.item(rng, "size", "big", "word") for _ in range(200)} == big


def test_training_groups_never_join_what_a_held_out_label_joins() -> None:
    rng = random.Random(0)
    for attribute in ("category", "place") * 300:
        groups = WORLD.grouping(rng, attribute)
        assert all(len(classes & set(group)) < 2 for classes in HELD_OUT_GROUPS for group in groups)


def test_reserved_label_words_occur_in_text_but_are_nobodys_label() -> None:
    rng = random.Random(0)
    text = " ".join(WORLD.passage(rng) for _ in range(3000)).lower()
    assert all(f" {word} " in text for word in lexicon().reserved)
    assert not set(lexicon().reserved) & set(WORLD.label_words)


def test_articles_follow_the_sound() -> None:
    assert [with_article(w) for w in ("apple", "useless pear", "pear")] == ["an apple", "a useless pear", "a pear"]
    assert with_article("ham", mass=True) == "some ham"
