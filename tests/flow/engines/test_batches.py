"""Batches: all cells once, those of a batch on the same weights, none too long, the longest first."""

import random

import pytest

from peftbench.cli.run import expanded
from peftbench.costs.describe import describe
from peftbench.flow import effort
from peftbench.flow.engines.batches import MOST_SECONDS, UNKNOWN_SECONDS, batches
from peftbench.flow.rate import ASSUMED_FLOPS_PER_SECOND
from peftbench.spec.cell import Cell
from peftbench.spec.recipe import find


def cell(model, number, **fields):
    return Cell(learner="icl", model=model, task={"name": "t"}, seed=number, **fields)


def check(cells, parts, num_workers, least=0.0):
    assert sorted(place for part in parts for place in part.places) == list(range(len(cells)))
    assert [part.total for part in parts] == sorted((part.total for part in parts), reverse=True)
    assert all(part.cells == tuple(cells[place] for place in part.places) for part in parts)
    assert all(len({(cell.model, cell.dtype) for cell in part.cells}) == 1 for part in parts)
    total = sum(part.total for part in parts)
    longest = max(least, total / num_workers)
    assert all(len(part.places) == 1 or part.total <= min(MOST_SECONDS, longest) * (1 + 1e-9) for part in parts)


def test_whatever_the_cells_are_batches_are_all_of_them(monkeypatch):
    rng = random.Random(0)
    monkeypatch.setattr(effort, "flops", lambda cell: cell.limit * 10**9)
    for _ in range(200):
        cells = [
            cell(rng.choice("abc"), number, limit=int(10 ** rng.uniform(0, rng.choice([1, 6]))))
            for number in range(rng.randint(1, 40))
        ]
        num_workers = rng.randint(1, 6)
        check(cells, batches(cells, num_workers, 5.0), num_workers, 5.0)


@pytest.mark.parametrize("name", ["table1", "methods", "real"])
def test_shipped_recipes_are_cut_for_all_workers(name):
    cells = expanded(find(name))
    parts = batches(cells, 4, 5.0)
    check(cells, parts, 4, 5.0)
    assert len(parts) >= 4


def test_a_day_of_cells_is_cut_to_half_hours(monkeypatch):
    monkeypatch.setattr(effort, "flops", lambda cell: 240 * ASSUMED_FLOPS_PER_SECOND)
    parts = batches([cell("a", number) for number in range(360)], 2, 5.0)
    assert {len(part.places) for part in parts} == {7, 3}
    assert batches([cell("a", 0)], 2, 5.0)[0].total == 240


def test_a_cell_of_a_model_whose_shape_is_not_known_takes_as_long_as_the_others_at_mean():
    known, unknown = cell("mini-gpt", 0), cell("somebody/else", 0)
    (first,), (second,) = (part.seconds for part in batches([known, unknown], 2, 0.0))
    assert first == second != UNKNOWN_SECONDS
    assert batches([unknown], 2, 0.0)[0].seconds == (UNKNOWN_SECONDS,)


def test_a_tuning_costs_what_the_rule_says_of_its_steps_and_its_queries():
    """4.2 of the paper: 2 N FLOPs for each token that is read, 3 times that for each that is trained on."""
    plain = {"model": "mini-gpt", "task": {"name": "t"}, "limit": 10, "templates": (0, 1)}
    number = describe("mini-gpt").num_parameters
    scoring = 2 * number * 2 * 10 * 103
    assert effort.flops(Cell(learner="icl", shots=0, **plain)) == scoring
    assert effort.flops(Cell(learner="icl", shots=4, **plain)) == scoring + 2 * number * 2 * 4 * 98
    tuned = Cell(learner="tune", method="lora", training={"batch_size": 3}, **plain)
    assert effort.flops(tuned) == scoring + 6 * number * 103 * 150 * 3
