import pytest

from peftbench.cli.run import expanded
from peftbench.errors import RecipeError
from peftbench.spec.recipe import find, shipped


@pytest.mark.parametrize("name", ["t-few", "table1"])
def test_a_recipe_that_comes_along_expands_to_distinct_cells(name):
    cells = expanded(find(name))
    assert len({cell.model_dump_json() for cell in cells}) == len(cells)


@pytest.mark.parametrize("path", shipped().values(), ids=shipped())
def test_a_recipe_begins_with_its_command_and_the_time_it_takes(path):
    head = path.read_text().partition("\nname =")[0]
    assert f"peftbench run {path.stem}" in head
    assert "Time:" in head


def test_table_one_puts_each_model_both_ways():
    settings = {(cell.model, cell.learner, cell.shots) for cell in expanded(find("table1"))}
    assert settings == {
        (model, learner, shots)
        for model in ("mini-t0", "mini-gpt")
        for learner, shots in (("icl", 0), ("icl", 32), ("tune", 32))
    }


def test_a_combination_that_cannot_be_is_an_error(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\ndescription = "d"\n[[run]]\nlearner = "tune"\nmodel = "m"\ntask = "lab-nli2"\n')
    with pytest.raises(RecipeError, match="'tune' needs a method"):
        expanded(path)
