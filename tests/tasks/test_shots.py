import hashlib

import pytest

from peftbench.errors import TaskError
from peftbench.tasks.shots import draw
from peftbench.tasks.task import Row, Task
from peftbench.tasks.template import Template


def task(name: str = "toy", num_rows: int = 50) -> Task:
    rows = tuple(Row(number, {"text": str(number)}, number % 2) for number in range(num_rows))
    template = Template("own", 0, "{{text}} ||| {{choice}}", ["a", "b"], "label")
    return Task(name, "toy", "", 1, "accuracy", 0.5, (template,), rows, rows, "")


@pytest.mark.parametrize("seed", range(5))
def test_fewer_shots_are_the_first_of_more(seed):
    fifty = task()
    many = draw(fifty, 50, seed)
    assert len({row.id for row in many}) == 50
    assert all(draw(fifty, k, seed) == many[:k] for k in range(50))


def test_a_draw_is_the_order_of_hashes():
    expected = sorted(range(50), key=lambda row: hashlib.sha256(f"toy\0{3}\0{row}".encode()).hexdigest())[:4]
    assert [row.id for row in draw(task(), 4, 3)] == expected


def test_seeds_and_tasks_draw_apart():
    draws = {tuple(row.id for row in draw(task(name), 8, seed)) for name in ("a", "b") for seed in range(20)}
    assert len(draws) == 40


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
