from pathlib import Path

from peftbench import registry
from peftbench.report.notes import steps
from peftbench.report.rows.table import build
from tests.report.records import record


def step(*settings, tasks=("nli",)):
    (table,) = build([record(*setting, task=task) for setting in settings for task in tasks])
    return steps.step(table)


def test_what_is_missing_for_the_same_model_comes_first():
    assert (
        step(("ICL", "mini-gpt"), ("ia3", "mini-t0")) == "peftbench icl --model mini-t0 --shots 32 --task PATH/nli.toml"
    )


def test_then_come_the_methods_that_were_not_tried():
    assert (
        step(("ICL", "mini-t0"), ("ia3", "mini-t0"))
        == "peftbench tune --model mini-t0 --method lora --task PATH/nli.toml"
    )


def test_after_all_methods_come_recipes():
    both = [(name, "mini-t0") for name in ("ICL", *registry.METHODS)]
    assert step(*both) == "peftbench list recipes"


def test_a_sentence_model_which_has_no_zero_shot_row_takes_classifiers_alone():
    assert step(("knn", "minilm")) == (
        "peftbench tune --model minilm --method logistic_regression --task PATH/nli.toml"
    )
    assert step(*((name, "minilm") for name in registry.CLASSIFIERS)) == "peftbench list recipes"
    assert step(("ICL", "mini-gpt"), ("knn", "mini-gpt")) == (
        "peftbench tune --model mini-gpt --method ia3 --task PATH/nli.toml"
    )


def test_after_a_mixture_comes_what_starts_from_it():
    made = [record("ICL", "mini-t0", shots=0), record("ia3", "mini-t0")]
    task = made[0].task.model_copy(update={"family": "mixture"})
    zero, tuned = (one.model_copy(update={"task": task}) for one in made)
    (table,) = build([zero, tuned])
    assert steps.step(table, Path("r/adapters")) == (
        f"peftbench tune --model mini-t0 --method ia3 --start-from r/adapters/{tuned.id}"
    )
    assert steps.step(build([zero])[0]) == "peftbench tune --model mini-t0 --method ia3 --task PATH/nli.toml"


def test_own_rows_are_named_by_what_must_be_typed_again_and_a_limit_stays():
    """Neither paths nor templates are in a record."""
    made = record("ia3", "mini-t0", "test", limit=30)
    mine = made.model_copy(update={"task": made.task.model_copy(update={"family": "own data"})})
    data = "--task test --train FILE --test FILE --template TEXT --choices A,B --limit 30"
    assert steps.step(build([mine])[0]) == f"peftbench icl --model mini-t0 --shots 32 {data}"
    assert steps.step(build([made])[0]) == "peftbench icl --model mini-t0 --shots 32 --task PATH/test.toml --limit 30"
    foreign = made.model_copy(update={"task": made.task.model_copy(update={"family": "promptsource"})})
    assert steps.step(build([foreign])[0]).endswith("--task PATH/test.yaml --limit 30")
