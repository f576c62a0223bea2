"""The split: training text holds nothing that a held-out task asks, and a planted leak is seen."""

import random

import pytest

from peftbench.lab.text.mixture import draw_pair, pairs, wordings
from peftbench.lab.text.rows import FOLDER
from peftbench.lab.text.split import Guard, plain
from peftbench.lab.world.lexicon import lexicon
from peftbench.lab.world.world import World
from peftbench.tasks.rows import stream

WORLD = World.generate(0)
GUARD = Guard()


def held_out_row(task: str) -> dict[str, str]:
    return next(iter(stream(FOLDER / task / "test.parquet")))


@pytest.mark.parametrize("family", sorted(wordings()["weights"]))
def test_no_training_family_leaks(family: str) -> None:
    rng = random.Random(f"split/{family}")
    assert GUARD.check(draw_pair(WORLD, rng, family) for _ in range(400)) == []


def test_the_mixture_as_it_is_drawn_does_not_leak() -> None:
    rng, draw = random.Random("split"), pairs(WORLD)
    assert GUARD.check(draw(rng) for _ in range(5000)) == []


def test_a_gap_is_never_a_held_out_label_word() -> None:
    rng = random.Random("split")
    gaps = {draw_pair(WORLD, rng, "fill")[1].lower().strip(".,") for _ in range(4000)}
    assert not gaps & set(lexicon().reserved)


def test_plain_text_does_not_leak() -> None:
    rng = random.Random("split")
    assert GUARD.check((WORLD.passage(rng), "") for _ in range(2000)) == []


def test_a_planted_sentence_of_a_held_out_row_is_seen() -> None:
    text = f"Ben is a farmer. {held_out_row('lab-hazard')['text']} A cat sat."
    assert [leak for leak in GUARD.leaks(text) if leak.startswith("row")]


@pytest.mark.parametrize(
    ("task", "fields"), [("lab-nli2", ("premise", "hypothesis")), ("lab-sense", ("first", "second"))]
)
def test_a_planted_pair_is_seen_and_half_of_it_is_not(task: str, fields: tuple[str, str]) -> None:
    row = held_out_row(task)
    first, second = row[fields[0]], row[fields[1]]
    assert any(leak.startswith("row") for leak in GUARD.leaks(f"Given: {first}", f"{second}"))
    assert not [leak for half in (first, second) for leak in GUARD.leaks("Ben smiled.", half)]


def test_a_planted_row_of_two_sentences_is_seen() -> None:
    text = held_out_row("lab-coref")["text"]
    assert list(GUARD.leaks(f"Ben smiled. {text} A cat sat."))
    assert not list(GUARD.leaks(text.split(". ")[0]))


def test_a_planted_row_inside_a_prompt_is_seen() -> None:
    text = held_out_row("lab-region")["text"]
    assert list(GUARD.leaks(f"Text: {text}\nKind:", "town"))


def test_planted_wording_of_a_held_out_template_is_seen() -> None:
    assert list(GUARD.leaks("Tom ate a pear.\nDoes it follow that Tom ate?", "yes"))


@pytest.mark.parametrize("word", lexicon().reserved)
def test_a_planted_label_word_is_seen(word: str) -> None:
    assert list(GUARD.leaks("Anna saw a wolf.\nLabel:", f"{word.capitalize()}."))


def test_all_label_words_of_opaque_tasks_are_reserved() -> None:
    opaque = [task for task in GUARD.tasks if task["family"] == "opaque label"]
    words = {choice for task in opaque for template in task["templates"] for choice in template["choices"]}
    assert words <= set(lexicon().reserved)


def test_every_row_of_the_guarded_tasks_is_guarded() -> None:
    assert sum(map(len, GUARD.rows.values())) == 700 * len(GUARD.tasks)


def test_plain_keeps_words_and_nothing_else() -> None:
    assert plain("Tom, 2 pears!\n") == " tom 2 pears "
