"""mini-t0's pairs: drawn from the generator alone, in many wordings, with answers that are right."""

import random
import re

import pytest

from peftbench.lab.text.mixture import CLASSES, draw_pair, pairs, wordings
from peftbench.lab.world.lexicon import lexicon
from peftbench.lab.world.world import World

WORLD = World.generate(0)
TABLE = wordings()
CATEGORY = {noun.word: noun.category for noun in lexicon().nouns}
KIND = {noun.word: noun.kind for noun in lexicon().nouns}


def draws(family: str, count: int = 100) -> list[tuple[str, str]]:
    rng = random.Random(family)
    return [draw_pair(WORLD, rng, family) for _ in range(count)]


def test_equal_generators_draw_equal_pairs() -> None:
    draw = pairs(WORLD)
    assert [draw(random.Random(5)) for _ in range(3)] == [draw(random.Random(5)) for _ in range(3)]


def test_every_weighted_family_has_four_wordings_or_more_and_every_wording_a_weight() -> None:
    counts = {family: len(texts) for group in ("classes", "generate") for family, texts in TABLE[group].items()}
    assert set(counts) == set(TABLE["weights"])
    assert len(counts) >= 15
    assert min(counts.values()) >= 4


@pytest.mark.parametrize("family", sorted(TABLE["weights"]))
def test_no_slot_stays_open_and_no_side_empty(family: str) -> None:
    for source, target in draws(family):
        assert source
        assert target
        assert not re.search(r"[{}]", source + target)


@pytest.mark.parametrize("family", sorted(TABLE["classes"]))
def test_both_answers_of_a_question_are_drawn(family: str) -> None:
    answers = {answer for _, *words in TABLE["classes"][family] for answer in words}
    assert {target for _, target in draws(family, 1500)} == answers


@pytest.mark.parametrize("label", [0, 1])
def test_a_thing_counts_as_its_category_and_kind_only(label: int) -> None:
    rng = random.Random(label)
    for _ in range(300):
        fields = CLASSES["contains"](WORLD, rng, label)
        noun, name = (re.sub(r"^(a|an|some) ", "", fields[key]) for key in ("a", "b"))
        assert (name in (CATEGORY[noun], KIND[noun])) == (label == 0)


def test_a_legend_names_the_answer_it_wants() -> None:
    assert all(target in source.split() or target in re.findall(r"\w+", source) for source, target in draws("legend"))


def test_an_extracted_answer_stands_in_the_text() -> None:
    assert all(target in source for source, target in draws("extraction"))


def test_a_listed_choice_is_the_one_the_text_tells() -> None:
    for source, target in draws("choice"):
        assert len(re.findall(rf"\b{target}\b", source)) == 2  # among the options and in the text
