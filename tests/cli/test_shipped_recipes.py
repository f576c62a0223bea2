import pytest

from peftbench import registry
from peftbench.cli import kept
from peftbench.cli.run import expanded
from peftbench.errors import RecipeError
from peftbench.learners import pet
from peftbench.spec.cell import Training
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


def test_raft_tunes_each_task_by_itself_as_t_few_did_and_keeps_it_from_all_rows():
    cells = [cell for cell in expanded(find("raft")) if cell.learner == "tune"]
    assert {cell.task.name for cell in cells} == set(registry.GROUP_TASKS["raft"])
    assert {(cell.method, cell.shots, cell.templates, cell.fold.of) for cell in cells} == {("ia3", 40, (0,), 5)}
    losses = ("lm_loss", "unlikelihood_loss", "length_norm_loss")
    of_task = {
        cell.task.name: (cell.scoring.max_input_tokens, *(cell.training[name] for name in losses)) for cell in cells
    }
    assert of_task.pop("banking_77") == (512, 1, 0, 0)
    assert set(of_task.values()) == {(256, 1, 1, 1)}
    assert {(cell.training["num_steps"], cell.training["lr"], cell.training["batch_size"]) for cell in cells} == {
        (1000, 3e-3, 8)
    }
    assert set(kept.by_task(cells)) == set(registry.GROUP_TASKS["raft"])


def test_pet_trains_as_its_authors_did():
    cells = [cell for cell in expanded(find("pet")) if cell.learner == "tune"]
    assert sum(cell.method_config.get("distil", False) for cell in cells) == len(cells) - 1 == 15
    for cell in cells:
        config = pet.Config(**cell.method_config)
        assert (config.repetitions, config.temperature, config.distil_steps) == (3, 2, 5000)
        training = Training(**cell.training)
        assert (training.num_steps, training.batch_size, training.lr) == (250, 16, 1e-5)
        assert training.model_dump().items() >= {**pet.LOSSES, **pet.DEFAULTS, **pet.OF_FULL}.items()


def test_a_combination_that_cannot_be_is_an_error(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('name = "r"\ndescription = "d"\n[[run]]\nlearner = "tune"\nmodel = "m"\ntask = "lab-nli2"\n')
    with pytest.raises(RecipeError, match="'tune' needs a method"):
        expanded(path)
