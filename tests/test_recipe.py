import pytest
from pydantic import ValidationError

from peftbench.errors import RecipeError
from peftbench.recipe import Cell, Run, TaskSpec, Training, cells, checked, read

RECIPE = """
name = "two"
description = "two models, two seeds"
[[run]]
learner = "tune"
model = ["a", "b"]
task = "t"
method = ["ia3", "lora"]
seeds = [0, 1]
[[run]]
learner = "icl"
model = "a"
task = "t"
shots = [0, 4]
"""


def test_a_run_expands_over_models_methods_and_seeds(tmp_path):
    path = tmp_path / "two.toml"
    path.write_text(RECIPE)
    tune, icl = read(path).run
    expanded = cells(tune, ["t"])
    assert [(cell.model, cell.method, cell.seed) for cell in expanded] == [
        (model, method, seed) for model in "ab" for method in ("ia3", "lora") for seed in (0, 1)
    ]
    assert [cell.shots for cell in cells(icl, ["t"])] == [0, 4]


def test_a_group_stands_for_its_tasks():
    run = Run(learner="icl", model="a", task="group")
    assert [cell.task.name for cell in cells(run, ["t1", "t2"])] == ["t1", "t2"]


def test_all_faults_of_a_recipe_are_listed_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('name = "x"\n[[run]]\nlearner = "guess"\nmodel = "a"\ntask = "t"\nshoots = 3\n')
    with pytest.raises(RecipeError) as caught:
        read(path)
    assert all(word in caught.value.message for word in ("description", "run.0.learner", "run.0.shoots"))


@pytest.mark.parametrize(("name", "text"), [("missing.toml", None), ("broken.toml", "name = ")])
def test_a_recipe_that_cannot_be_read_is_one_line(tmp_path, name, text):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(RecipeError, match=name):
        read(path)


def test_an_unknown_setting_names_the_known_ones():
    with pytest.raises(RecipeError) as caught:
        checked(Training, {"learning_rate": 1}, "training", RecipeError)
    assert "lr" in str(caught.value.hint)


@pytest.mark.parametrize(
    "fault",
    [
        {"learner": "tune"},
        {"learner": "icl", "method": "ia3"},
        {"learner": "tune", "method": "ia3", "shots": 0},
    ],
)
def test_learner_method_and_shots_must_go_together(fault):
    with pytest.raises(ValidationError):
        Cell(model="m", task=TaskSpec(name="t"), **fault)


def test_training_without_any_loss_is_refused():
    with pytest.raises(ValidationError, match="all three losses are off"):
        Training(lm_loss=0, unlikelihood_loss=0, length_norm_loss=0)
