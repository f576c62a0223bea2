"""What fits into the time, and that it is chosen again."""

import gc
import json
import weakref

import pytest

from peftbench.decision import schedule
from peftbench.decision.decide import read
from peftbench.decision.schedule import Step, scheduled
from peftbench.decision.strategies import Split, Strategy
from peftbench.errors import RunError
from peftbench.flow import trial
from peftbench.flow.plan import plans
from peftbench.flow.run import run
from peftbench.learners.progress import SILENT
from peftbench.store.results import Store
from tests.decision.rows import write_model, write_rows


def steps(*seconds, num_needed=1):
    return [
        Step(Strategy(f"strategy {place}", {}, is_needed=place < num_needed), (), (), (), seconds=of_step)
        for place, of_step in enumerate(seconds)
    ]


def fitting(budget, *seconds, **more):
    return [step.strategy.name for step in schedule._fitting(steps(*seconds, **more), budget)]


def test_what_fits_is_taken_in_order_and_what_is_too_long_is_passed_over():
    assert fitting(100, 10, 20, 90, 30, 50) == ["strategy 0", "strategy 1", "strategy 3"]
    assert fitting(200, 10, 20, 90, 30, 50) == ["strategy 0", "strategy 1", "strategy 2", "strategy 3", "strategy 4"]


def test_what_is_needed_is_taken_before_the_rest():
    assert fitting(100, 10, 60, 5, 80, num_needed=2) == ["strategy 0", "strategy 1", "strategy 2"]


def test_time_for_nothing_is_an_error_that_says_what_it_takes():
    with pytest.raises(RunError, match="30 s are too short: strategy 0; strategy 1 take 2 min here") as fault:
        fitting(30, 60, 60, 5, num_needed=2)
    assert fault.value.hint == "--budget 3m, fewer --folds, or a smaller --model"


@pytest.fixture(scope="module")
def question(tmp_path_factory):
    folder = tmp_path_factory.mktemp("question")
    model = {"model": str(write_model(folder)), "device": "cpu"}
    return read(write_rows(folder))[0], model


@pytest.fixture(autouse=True)
def known_rate(monkeypatch):
    """Spare each schedule the second in which the machine's own rate is measured."""
    monkeypatch.setattr(schedule, "matmul_flops_per_second", lambda *_: 1e10)


def made(question, store, budget=1000.0, *, force=False, **split):
    return scheduled(*question, Split(**{"folds": 2, **split}), budget, Store(store), SILENT, force=force)


def test_cells_stand_in_the_order_of_their_ways_with_forecasts(question, tmp_path):
    found = made(question, tmp_path)
    assert [cell for step in found.chosen for cell in step.cells] == found.cells
    assert len(found.cells) == len({record_id for step in found.chosen for record_id in step.ids})
    assert all(step.seconds > 0 for step in found.steps if not step.is_calibrated)
    assert found.seconds == pytest.approx(sum(step.seconds for step in found.chosen))
    assert (found.pool.labels, found.pool.classes) == ((1, 0) * 10, ("bad", "good"))


def test_calibrating_is_priced_beyond_the_prompts_that_were_scored(question, tmp_path):
    found = made(question, tmp_path)
    pairs = [(plain, step) for plain, step in zip(found.steps, found.steps[1:], strict=False) if step.is_calibrated]
    assert len(pairs) == 3
    assert all(0 < step.flops < plain.flops for plain, step in pairs)


def test_what_was_chosen_once_is_chosen_again_however_fast_the_machine_is(question, tmp_path, monkeypatch):
    found = made(question, tmp_path)
    (file,) = (tmp_path / "decisions").iterdir()
    assert json.loads(file.read_text())["strategies"] == [step.strategy.name for step in found.chosen]
    monkeypatch.setattr(schedule, "matmul_flops_per_second", lambda *_: 1e3)
    again = made(question, tmp_path)
    assert again.cells == found.cells
    assert again.seconds > 1000
    with pytest.raises(RunError, match="too short"):
        made(question, tmp_path, budget=1001.0)


@pytest.mark.parametrize("text", ["", "{}", '{"strategies": 3}', '{"strategies": ["no such"]}'])
def test_a_damaged_choice_is_made_anew(question, tmp_path, text):
    found = made(question, tmp_path)
    (file,) = (tmp_path / "decisions").iterdir()
    file.write_text(text)
    assert made(question, tmp_path).cells == found.cells
    assert json.loads(file.read_text())["strategies"] == [step.strategy.name for step in found.chosen]


def test_what_has_a_record_takes_no_time_and_fits_into_any_budget(question, tmp_path, monkeypatch):
    found = made(question, tmp_path)
    lora = next(step for step in found.steps if step.strategy.name == "lora")
    list(run(lora.cells, Store(tmp_path)))
    needed = sum(step.seconds for step in found.steps if step.strategy.is_needed)
    monkeypatch.setattr(
        schedule, "_remembered", lambda _, steps, budget: [s.strategy.name for s in schedule._fitting(steps, budget)]
    )
    again = made(question, tmp_path, budget=2 * needed)
    (step,) = (step for step in again.chosen if step.strategy.name == "lora")
    assert step.seconds == 0
    assert step.forecasts == lora.forecasts
    (forced,) = (step for step in made(question, tmp_path, force=True).steps if step.strategy.name == "lora")
    assert forced.seconds == lora.seconds


def test_the_model_is_let_go_of_before_anything_is_run(question, tmp_path, monkeypatch):
    loaded = []

    def load(*words, **more):
        backbone = loading(*words, **more)
        loaded.append(weakref.ref(backbone))
        return backbone

    loading = trial.load
    monkeypatch.setattr(trial, "load", load)
    found = made(question, tmp_path)
    gc.collect()
    assert found.cells
    assert [reference() for reference in loaded] == [None]


def test_searches_for_the_learning_rate_take_a_budget(question, tmp_path):
    assert any("learning rate" in step.strategy.name for step in made(question, tmp_path).steps)
    assert not any("learning rate" in step.strategy.name for step in made(question, tmp_path, budget=None).steps)


def test_steps_are_the_models_own_or_ten_passes(question, tmp_path):
    def num_steps(found):
        (step,) = (step for step in found.steps if step.strategy.name == "lora")
        return {planned.learner.training.num_steps for planned in trial.trials(plans(step.cells))}

    assert num_steps(made(question, tmp_path)) == {2}
    plain = (question[0], {**question[1], "model": str(write_model(tmp_path / "plain", ""))})
    assert num_steps(made(plain, tmp_path)) == {60}


def test_all_rows_are_learned_from_in_the_end(question, tmp_path):
    found = made(question, tmp_path)
    by_name = {step.strategy.name: found.on_all_rows(step) for step in found.steps}
    assert by_name["lora"].fold is None
    assert by_name["lora"].shots == 20
    assert by_name["ICL, 4 shots"].shots == 4
    assert by_name["ICL, up to 10 shots"].shots == 20
