"""Which strategies are compared, and in which order."""

import pytest

from peftbench import registry
from peftbench.decision.strategies import FEWEST_STEPS, METHODS, Split, cells, num_steps, strategies
from peftbench.spec.cell import TaskSpec

TASK = TaskSpec(name="sst2")


def names(num_rows, **more):
    return [strategy.name for strategy in strategies(num_rows, None, **{"searches": False, **more})]


def test_what_a_decision_needs_comes_first():
    needed = [strategy for strategy in strategies(48, None, searches=True) if strategy.is_needed]
    assert needed == strategies(48, None, searches=True)[: len(needed)]
    assert {strategy.fields["learner"] for strategy in needed} == {"icl", "tune"}


def test_each_prompt_is_calibrated_right_after_it_was_scored():
    listed = names(48)
    plain = [name for name in listed if name.startswith(("zero", "ICL")) and not name.endswith("calibrated")]
    assert len(plain) == 4
    assert all(listed[listed.index(name) + 1] == f"{name}, calibrated" for name in plain)


@pytest.mark.parametrize(("num_rows", "shots"), [(3, {0, 3}), (4, {0, 4}), (10, {0, 4, 10}), (48, {0, 4, 16, 48})])
def test_shots_are_few_many_and_all(num_rows, shots):
    found = strategies(num_rows, None, searches=False)
    assert {strategy.fields["shots"] for strategy in found if strategy.fields["learner"] == "icl"} == shots
    on_fewer = {16} if num_rows > 16 else {4} if num_rows > 4 else set()
    assert {strategy.fields["shots"] for strategy in found if strategy.fields["learner"] == "tune"} == {
        num_rows,
        *on_fewer,
    }


def test_learning_rates_are_searched_for_last_and_only_on_demand():
    assert names(48, searches=True)[:-2] == names(48)
    assert all("learning rate" in name for name in names(48, searches=True)[-2:])


def test_the_methods_are_there():
    assert set(METHODS) <= set(registry.METHODS)


def test_steps_are_ten_passes_but_no_fewer_than_sixty():
    assert num_steps(8) == num_steps(48) == FEWEST_STEPS == 60
    assert num_steps(128) == 160
    (strategy,) = (strategy for strategy in strategies(48, 77, searches=False) if strategy.name == "lora")
    assert strategy.fields["training"] == {"num_steps": 77}


def test_a_way_has_a_cell_for_each_fold_of_each_division_and_zero_shot_of_the_first():
    split = Split(folds=3, repeats=2, group="who")
    counts = {}
    for strategy in strategies(48, None, searches=True):
        made = cells(strategy, TASK, split, {"model": "m"})
        counts[strategy.name] = len(made)
        assert len({(cell.seed, cell.fold.index) for cell in made}) == len(made)
        assert {(cell.fold.of, cell.fold.group) for cell in made} == {(3, "who")}
    assert counts.pop("zero-shot") == counts.pop("zero-shot, calibrated") == 3
    assert set(counts.values()) == {6}
