import tomllib

from peftbench.report.formats.recipe import recipe
from peftbench.report.notes.document import compose
from peftbench.report.rows.reference import published
from peftbench.report.rows.table import build
from peftbench.spec import recipe as recipes
from peftbench.spec.cell import TaskSpec
from peftbench.store.record import Sweep
from peftbench.tasks.all_rows import AllRows
from tests.report.records import record

ICL = {"fit_shots": True, "order": 2}
SCORING = {"end": "none", "separator": "\n\n", "max_input_tokens": None, "cache": True}


def read(records):
    table = tomllib.loads(recipe(build(records)))
    return recipes.Recipe.model_validate(table)


def specs(run):
    return [TaskSpec(name=name) for name in run.task]


def test_it_expands_to_the_cells_of_the_records():
    tuned = {"method_config": {"init": 1.0}, "training": {"lr": 0.01, "num_steps": 7}, "scoring": SCORING}
    made = [
        record("ia3", "mini-t0", task, seed=seed, templates=[0, 2], limit=50, **tuned)
        for task in ("a", "b")
        for seed in (0, 3)
    ]
    made += [record("ICL", "mini-gpt", task, seed=1, icl=ICL, dtype="float32") for task in ("a", "b")]
    cells = [cell for run in read(made).run for cell in recipes.cells(run, specs(run), AllRows().number)]
    assert {(cell.learner, cell.model, cell.task.name, cell.seed) for cell in cells} == {
        *(("tune", "mini-t0", task, seed) for task in ("a", "b") for seed in (0, 3)),
        *(("icl", "mini-gpt", task, 1) for task in ("a", "b")),
    }
    first = next(cell for cell in cells if cell.learner == "tune")
    assert (first.method, first.method_config, first.limit, first.templates) == ("ia3", {"init": 1.0}, 50, (0, 2))
    assert first.training == {"lr": 0.01, "num_steps": 7}
    assert first.scoring == recipes.ScoringOptions(end="none", separator="\n\n")
    assert next(cell for cell in cells if cell.learner == "icl").icl == recipes.IclOptions(fit_shots=True, order=2)


def test_a_sweep_is_swept_again_around_the_rate_that_it_began_with():
    tuned = record("ia3", "mini-t0", training={"lr": 0.01})
    found = Sweep(lr=0.03, trials=[], num_folds=2, num_steps=70, num_held_out=8)
    swept = tuned.model_copy(update={"learned": tuned.learned.model_copy(update={"sweep": found})})
    (run,) = read([swept]).run
    assert (run.sweep, run.training) == ("lr", {"lr": 0.01})
    assert read([tuned]).run[0].sweep is None


def test_tasks_with_other_seeds_are_runs_of_their_own():
    made = [record(task="a", seed=0), record(task="a", seed=1), record(task="b", seed=0)]
    found = {(tuple(run.task), tuple(run.seeds)) for run in read(made).run}
    assert found == {(("a",), (0, 1)), (("b",), (0,))}


def test_published_rows_have_no_recipe():
    assert recipe(compose([], published("t-few")).tables) == ""


def test_orders_of_the_shots_are_run_again():
    def ordered(seed, order):
        return record(shots=16, seed=seed, **({"icl": {"order": order}} if order else {}))

    def found(records):
        cells = [cell for run in read(records).run for cell in recipes.cells(run, specs(run), AllRows().number)]
        return sorted((cell.seed, cell.icl.order) for cell in cells)

    whole = [(seed, order) for seed in (0, 1) for order in (0, 1, 2)]
    assert found([ordered(*each) for each in whole]) == whole
    assert len(read([ordered(*each) for each in whole]).run) == 1
    parts = [(0, 0), (0, 3), (1, 0)]
    assert found([ordered(*each) for each in parts]) == parts
