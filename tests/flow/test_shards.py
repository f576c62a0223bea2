"""Parts of a run: together they are all of it, and no cell is in two."""

import itertools
import json

import pytest

from peftbench.cli.app import main
from peftbench.cli.run import expanded
from peftbench.errors import RecipeError
from peftbench.flow.shards import Shard
from peftbench.spec.recipe import find, shipped


@pytest.mark.parametrize("name", ["table1", "methods", "curve", "lora-rank"])
@pytest.mark.parametrize("of", [1, 2, 3, 7, 1000])
def test_parts_are_all_of_it_and_share_nothing(name, of):
    assert name in shipped()
    cells = expanded(find(name))
    parts = [Shard(number, of).take(cells) for number in range(1, of + 1)]
    dealt = [cell.model_dump_json() for part in parts for cell in part]
    assert sorted(dealt) == sorted(cell.model_dump_json() for cell in cells)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_each_part_has_cells_of_all_kinds_and_each_models_together():
    cells = expanded(find("table1"))
    kinds = {(cell.model, cell.learner, cell.shots > 0) for cell in cells}
    for number in (1, 2):
        part = Shard(number, 2).take(cells)
        assert {(cell.model, cell.learner, cell.shots > 0) for cell in part} == kinds
        models = [cell.model for cell in part]
        assert sum(first != second for first, second in itertools.pairwise(models)) == len(set(models)) - 1


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
