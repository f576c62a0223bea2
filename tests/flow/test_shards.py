"""Parts of a run: together they are all of it, and no cell is in two."""

import itertools
import json
import random
from collections import Counter

import pytest

from peftbench.cli.app import main
from peftbench.cli.run import expanded
from peftbench.errors import RecipeError
from peftbench.flow import effort, shards
from peftbench.flow.shards import Shard
from peftbench.spec.cell import Cell
from peftbench.spec.recipe import find, shipped


@pytest.mark.parametrize("name", ["table1", "methods", "curve", "lora-rank"])
@pytest.mark.parametrize("of", [1, 2, 3, 7, 1000])
def test_parts_are_all_of_it_and_share_nothing(name, of):
    assert name in shipped()
    cells = expanded(find(name))
    parts = shards.deal(cells, of)
    check_parts(cells, parts)
    for number in {1, of // 2 + 1, of}:
        assert Shard(number, of).take(cells) == parts[number - 1]
    loads = [sum(map(effort.flops, part)) for part in parts if part]
    mean = sum(loads) / len(loads)
    assert max(loads) <= mean + max(map(effort.flops, cells)) or len(loads) == len(cells)


def check_parts(cells, parts):
    dealt = [cell.model_dump_json() for part in parts for cell in part]
    assert sorted(dealt) == sorted(cell.model_dump_json() for cell in cells)
    assert min(map(len, parts)) > 0 or max(map(len, parts)) <= 1
    for models in ([cell.model for cell in part] for part in parts):
        assert sum(first != second for first, second in itertools.pairwise(models)) == max(0, len(set(models)) - 1)


def test_each_part_has_cells_of_all_kinds_and_each_models_together():
    cells = expanded(find("table1"))
    kinds = {(cell.model, cell.learner, cell.shots > 0) for cell in cells}
    for number in (1, 2):
        part = Shard(number, 2).take(cells)
        assert {(cell.model, cell.learner, cell.shots > 0) for cell in part} == kinds
        models = [cell.model for cell in part]
        assert sum(first != second for first, second in itertools.pairwise(models)) == len(set(models)) - 1


def cell(model, number, **fields):
    return Cell(learner="icl", model=model, task={"name": "t"}, seed=number, **fields)


def test_whatever_cells_cost_parts_are_all_of_them_and_as_even_as_graham_says(monkeypatch):
    """Who is dealt to the emptiest of all parts ends no later than the mean and a cell (Graham 1966)."""
    rng = random.Random(0)
    monkeypatch.setattr(effort, "flops", lambda cell: cell.limit)
    for _ in range(300):
        models = [f"m{number}" for number in range(rng.randint(1, 5))]
        cells = [
            cell(rng.choice(models), number, limit=int(10 ** rng.uniform(0, rng.choice([0.1, 5]))))
            for number in range(rng.randint(0, 40))
        ]
        parts = shards.deal(cells, rng.choice([1, 2, 3, 5, 8, 50]))
        check_parts(cells, parts)
        if cells:
            loads = [sum(cell.limit for cell in part) for part in parts]
            assert max(loads) <= shards.SLACK * (sum(loads) / len(parts) + max(cell.limit for cell in cells))


def test_cells_of_the_same_weights_are_together_where_that_is_as_even():
    """All cells of a small model weigh less than one of a large one: no second part loads it."""
    cells = [cell(model, number) for number in range(20) for model in ("mini-gpt", "t0-3b")]
    parts = [{cell.model for cell in part} for part in shards.deal(cells, 8)]
    assert sum("mini-gpt" in models for models in parts) == 1
    assert all("t0-3b" in models for models in parts)


def test_two_models_of_one_size_have_a_part_each():
    cells = [cell("mini-gpt", number, dtype=dtype) for number in range(6) for dtype in ("float32", "bfloat16")]
    assert [len({cell.dtype for cell in part}) for part in shards.deal(cells, 2)] == [1, 1]
    assert [len({cell.dtype for cell in part}) for part in shards.deal(cells, 4)] == [1, 1, 1, 1]


def test_what_tunes_the_same_stays_together():
    """Tasks that one training is for."""
    tuned = [
        Cell(learner="tune", model="mini-t0", method="ia3", task={"name": task}, source_task={"name": "s"}, seed=seed)
        for task in "abc"
        for seed in range(4)
    ]
    parts = shards.deal(tuned, 3)
    check_parts(tuned, parts)
    for part in parts:
        assert set(Counter(cell.seed for cell in part).values()) == {3}


def test_a_model_whose_shape_is_not_known_is_in_all_parts():
    """It may be a large one, of which nobody here knows what a cell costs."""
    cells = [cell(model, number) for model in ("mini-gpt", "somebody/else", "another/one") for number in range(7)]
    parts = shards.deal(cells, 3)
    check_parts(cells, parts)
    for part in parts:
        counts = Counter(cell.model for cell in part)
        assert {counts["somebody/else"], counts["another/one"]} <= {2, 3}


@pytest.mark.parametrize("text", ["5/4", "0/4", "1/0", "1", "a/b", "1/4/2", "-1/4", "1/", "1/9999999"])
def test_what_is_no_part_is_one_line_and_a_hint(text):
    with pytest.raises(RecipeError, match="--shard") as error:
        Shard.read(text)
    assert "--shard" in error.value.hint


def test_two_parts_make_one_set_of_records(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.toml").write_text(
        'name = "two"\ndescription = "two"\n[[run]]\nlearner = "icl"\nmodel = "mini-gpt"\ntask = "lab-hazard"\n'
        "shots = [0, 1]\nseeds = [0, 1]\nlimit = 2\ntemplates = [0]\n"
    )
    for number in (1, 2):
        assert main(["run", "two.toml", "--shard", f"{number}/2"]) == 0
    assert "there already" not in capsys.readouterr().err
    assert main(["run", "two.toml"]) == 0
    err = capsys.readouterr().err
    assert err.count("there already") == len(list((tmp_path / "results" / "records").glob("*.json"))) == 3
    assert main(["run", "two.toml", "--shard", "4/4"]) == 2
    assert "--shard 4/4 is empty: there are 3 cells" in capsys.readouterr().err
    assert json.loads(next((tmp_path / "results" / "records").glob("*.json")).read_text())["seed"] in (0, 1)
