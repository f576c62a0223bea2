import pytest
from pydantic import ValidationError

from peftbench.errors import RecipeError
from peftbench.spec.cell import Cell, IclOptions, TaskSpec, Training
from peftbench.spec.recipe import Run, cells, find, read
from peftbench.spec.settings import checked


def as_they_are(shots, *_):
    return shots


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
    expanded = cells(tune, [TaskSpec(name="t")], as_they_are)
    assert [(cell.model, cell.method, cell.seed) for cell in expanded] == [
        (model, method, seed) for model in "ab" for method in ("ia3", "lora") for seed in (0, 1)
    ]
    assert [cell.shots for cell in cells(icl, [TaskSpec(name="t")], as_they_are)] == [0, 4]


def test_settings_of_a_run_may_be_lists_of_tables():
    run = Run(
        learner="tune",
        model="a",
        task="t",
        method="lora",
        set=[{"rank": 1}, {"rank": 2, "roles": ["q", "v"]}],
        training=[{"lr": 1e-3}, {"lr": 1e-2}],
    )
    assert [(cell.method_config, cell.training["lr"]) for cell in cells(run, [TaskSpec(name="t")], as_they_are)] == [
        ({"rank": 1}, 1e-3),
        ({"rank": 1}, 1e-2),
        ({"rank": 2, "roles": ["q", "v"]}, 1e-3),
        ({"rank": 2, "roles": ["q", "v"]}, 1e-2),
    ]


def test_a_group_stands_for_its_tasks():
    run = Run(learner="icl", model="a", task="group")
    assert [cell.task.name for cell in cells(run, [TaskSpec(name="t1"), TaskSpec(name="t2")], as_they_are)] == [
        "t1",
        "t2",
    ]


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


@pytest.mark.parametrize(
    ("shots", "options", "fault"),
    [
        (0, {"order": 1}, "shots = 0 can stand in one order only"),
        (1, {"order": 1}, "shots = 1 can stand in one order only"),
        (3, {"order": 6}, "shots = 3 can stand in no more than 6 orders"),
        (0, {"labels": "random"}, "without a shot to relabel"),
        (0, {"ensemble": "vote"}, "one-shot prompts, and there is no shot"),
        (0, {"as_prefix": True}, "nothing to save as a prefix"),
        (4, {"ensemble": "mean", "order": 1}, "one shot each, which has no order"),
        (4, {"ensemble": "mean", "as_prefix": True}, "a prefix is one prompt"),
        (4, {"calibrate": True, "as_prefix": True}, "nothing calibrates those"),
        (0, {"attention": "block"}, "into blocks, and there is none"),
        (4, {"attention": "block", "as_prefix": True}, "as_prefix saves what attention = full computes"),
        (4, {"attention": "block", "ensemble": "mean"}, "which is one block"),
        (4, {"attention": "block", "select": "bm25"}, "with select = bm25 each has its own shots"),
        (4, {"block_shots": 2}, "block_shots goes with attention = block"),
        (4, {"content_free": ("a",)}, "content_free goes with calibrate"),
        (4, {"calibrate_by": "batch"}, "calibrate_by = batch goes with calibrate, which is off"),
        (4, {"calibrate": True, "calibrate_by": "domain", "content_free": ("a",)}, "reads training rows"),
        (4, {"calibrate": True, "calibrate_by": "batch", "select": "bm25"}, "prompts with the same shots"),
    ],
)
def test_options_of_icl_that_cannot_be_are_said(shots, options, fault):
    table = {"learner": "icl", "model": "m", "task": {"name": "t"}, "shots": shots, "icl": options}
    with pytest.raises(RecipeError, match=fault) as caught:
        checked(Cell, table, "options", RecipeError)
    assert caught.value.hint is None


def test_calibration_needs_a_content_free_text():
    with pytest.raises(ValidationError, match="at least 1 item"):
        IclOptions(calibrate=True, content_free=())


def test_orders_are_a_cell_each():
    run = Run(learner="icl", model="m", task="t", shots=[3], orders=3, icl={"labels": "flipped"})
    assert [(cell.icl.order, cell.icl.labels) for cell in cells(run, [TaskSpec(name="t")], as_they_are)] == [
        (n, "flipped") for n in range(3)
    ]


def test_a_results_folder_of_the_same_name_does_not_hide_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table1").mkdir()
    assert find("table1").suffix == ".toml"


def test_what_is_tuned_on_a_source_task_answers_each_task():
    run = Run(learner="tune", model="m", method="ia3", task=["mr", "cr"], source_task=["sst2", "imdb"], shots=4)
    tasks, sources = ([TaskSpec(name=name) for name in names] for names in (run.task, run.source_task))
    pairs = [(cell.task.name, cell.source_task.name) for cell in cells(run, tasks, as_they_are, sources)]
    assert pairs == [("mr", "sst2"), ("mr", "imdb"), ("cr", "sst2"), ("cr", "imdb")]
