import hashlib
import json
from collections import Counter
from dataclasses import replace

import pytest

from peftbench.errors import TaskError
from peftbench.tasks.shots import draw, ranks, relabel
from peftbench.tasks.task import Example, Row, Task
from peftbench.tasks.template import Template


def task(name: str = "toy", num_rows: int = 50) -> Task:
    rows = tuple(Row(number, {"text": str(number)}, number % 2) for number in range(num_rows))
    template = Template("own", 0, "{{text}} ||| {{choice}}", ["a", "b"], "label")
    return Task(name, "toy", "", 1, "accuracy", 0.5, (template,), rows, rows, "")


@pytest.mark.parametrize("seed", range(5))
def test_fewer_shots_are_the_first_of_more(seed):
    fifty = task()
    all_rows = draw(fifty, 50, seed)
    assert len({row.id for row in all_rows}) == 50
    assert all(draw(fifty, k, seed) == all_rows[:k] for k in range(50))


def test_a_draw_is_the_order_of_hashes():
    expected = sorted(range(50), key=lambda row: hashlib.sha256(f"toy\0{3}\0{row}".encode()).hexdigest())[:4]
    assert [row.id for row in draw(task(), 4, 3)] == expected


def test_seeds_and_tasks_draw_apart():
    draws = {tuple(row.id for row in draw(task(name), 8, seed)) for name in ("a", "b") for seed in range(20)}
    assert len(draws) == 40


def own(texts, name: str = "toy", labels: int = 2) -> Task:
    rows = tuple(Row(number, {"text": text}, int(text[-1]) % labels) for number, text in enumerate(texts))
    return replace(task(name), train=rows, is_own=True)


TEXTS = [f"row {number}" for number in range(50)]


def shown(rows) -> list[str]:
    return [row.fields["text"] for row in rows]


def test_the_name_of_ones_own_rows_draws_nothing():
    assert draw(own(TEXTS, "dev"), 8, 3) == draw(own(TEXTS, "test"), 8, 3)
    assert draw(own(TEXTS), 8, 3) != draw(own(TEXTS), 8, 4)


def test_ones_own_rows_are_drawn_by_what_stands_in_them_and_not_by_their_place():
    backwards = shown(draw(own(TEXTS[::-1]), 8, 0))
    assert backwards == shown(draw(own(TEXTS), 8, 0))
    longer = shown(draw(own([*TEXTS, "row 50"]), 9, 0))
    assert [text for text in longer if text != "row 50"][:8] == backwards


def test_an_order_of_own_rows_is_that_of_the_hashes_of_their_content():
    def key(text):
        content = json.dumps([{"text": text}, int(text[-1]) % 2])
        return hashlib.sha256(f"0\0{content}\0{5}".encode()).hexdigest()

    assert shown(draw(own(TEXTS), 4, 5)) == sorted(TEXTS, key=key)[:4]


def test_equal_rows_of_ones_own_are_all_drawn_and_stand_apart():
    rows = draw(own(["a 1"] * 30 + ["b 2"] * 30), 60, 0)
    assert len({row.id for row in rows}) == 60
    assert set(shown(rows[:20])) == {"a 1", "b 2"}


@pytest.mark.parametrize("kind", ["plain", "balanced"])
def test_fewer_of_ones_own_shots_are_the_first_of_more(kind):
    all_rows = draw(own(TEXTS), 50, 1, kind)
    assert all(draw(own(TEXTS), k, 1, kind) == all_rows[:k] for k in (1, 8, 49))


def test_each_row_is_drawn_about_equally_often():
    counts = [0] * 10
    ten = task(num_rows=10)
    for seed in range(2000):
        for row in draw(ten, 2, seed):
            counts[row.id] += 1
    # 400 expected each, standard deviation 18
    assert min(counts) > 320
    assert max(counts) < 480


def test_more_shots_than_rows_are_refused():
    with pytest.raises(TaskError, match="51 shots were asked for, and task 'toy' has 50 training rows") as caught:
        draw(task(), 51, 0)
    assert "--shots 50" in str(caught.value.hint)


def skewed() -> Task:
    """Forty rows, of which five have label 1."""
    rows = tuple(Row(number, {"text": str(number)}, int(number % 8 == 0)) for number in range(40))
    return Task("toy", "toy", "", 1, "accuracy", 0.5, (), rows, rows, "")


@pytest.mark.parametrize("seed", range(3))
def test_a_balanced_draw_has_as_many_of_each_label_as_the_rows_allow(seed):
    all_rows = draw(skewed(), 40, seed, "balanced")
    counts = [Counter(row.label for row in all_rows[:k]) for k in range(41)]
    assert all(abs(count[0] - count[1]) <= 1 for count in counts[:11])
    assert (counts[12][1], counts[40]) == (5, {0: 35, 1: 5})
    assert all(draw(skewed(), k, seed, "balanced") == all_rows[:k] for k in (1, 7, 30))


def test_orders_are_all_there_are_and_the_first_is_that_of_the_draw():
    shots = draw(task(), 4, 0)
    orders = [tuple(ranks(shots, order, 0)) for order in range(24)]
    assert orders[0] == (0, 1, 2, 3)
    assert len(set(orders)) == 24
    assert all(sorted(places) == [0, 1, 2, 3] for places in orders)
    assert ranks(shots, 3, 0) != ranks(shots, 3, 1)


def examples_of(word):
    """600 examples of three choices whose rows say a word and their number."""
    rows = [Row(number, {"text": f"{word} {number}"}, number % 3) for number in range(600)]
    return [Example(row.id, "x", ("a", "b", "c"), row.label, row) for row in rows]


def test_flipped_labels_are_all_wrong_and_random_ones_right_by_chance():
    examples = examples_of("soup")
    assert {relabel(example, "flipped", 0).label - example.label for example in examples} == {1, -2}
    assert all(relabel(example, "gold", 0) == example for example in examples)
    drawn = [relabel(example, "random", 0).label for example in examples]
    assert drawn == [relabel(example, "random", 0).label for example in examples]
    # 200 expected of each and 200 right, standard deviation 12
    right = sum(label == example.label for label, example in zip(drawn, examples, strict=True))
    assert all(150 < number < 250 for number in (*Counter(drawn).values(), right))


def test_a_file_of_shots_is_taken_as_it_stands_and_the_seed_orders_it():
    for rows in (own(TEXTS), task()):
        draws = [draw(rows, 5, seed, "file") for seed in range(9)]
        assert {tuple(sorted(row.id for row in shots)) for shots in draws} == {(0, 1, 2, 3, 4)}
        assert len({tuple(row.id for row in shots) for shots in draws}) > 5
        assert len(draw(rows, 50, 0, "file")) == 50
    # Which file the same rows come from, and in what order, is nothing to their order as shots.
    assert shown(draw(own(TEXTS[4::-1]), 5, 3, "file")) == shown(draw(own(TEXTS[:5]), 5, 3, "file"))
    with pytest.raises(TaskError, match="51 shots were asked for, and task 'toy' has 50 training rows"):
        draw(own(TEXTS), 51, 0, "file")


def test_random_labels_hang_on_what_stands_in_the_row_and_not_on_its_place():
    soup, bread = ([relabel(example, "random", 0).label for example in examples_of(word)] for word in ("soup", "bread"))
    # 200 alike by chance, standard deviation 12
    assert 150 < sum(a == b for a, b in zip(soup, bread, strict=True)) < 250
    moved = [replace(example, row_id=0, row=replace(example.row, id=0)) for example in examples_of("soup")]
    assert [relabel(example, "random", 0).label for example in moved] == soup
    assert [relabel(example, "random", 1).label for example in moved] != soup
