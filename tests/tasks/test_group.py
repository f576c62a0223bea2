import pytest

from peftbench.errors import TaskError
from peftbench.flow.plan import plan
from peftbench.spec.cell import Cell, TaskSpec
from peftbench.tasks.load import expand, load


def test_a_mixture_has_the_rows_of_its_tasks_in_turn_each_under_its_own_templates():
    tasks = {name: load(TaskSpec(name=name)) for name in expand("lab-train")}
    mixed = load(TaskSpec(name="lab-train"))
    assert [row.task for row in mixed.test[: len(tasks)]] == list(tasks)
    assert [row.id for row in mixed.train] == list(range(sum(len(task.train) for task in tasks.values())))
    for template in mixed.templates:
        name, _, template_name = template.name.partition(": ")
        (source,) = [candidate for candidate in tasks[name].templates if candidate.name == template_name]
        examples = [template.render(row) for row in mixed.test if template.reads(row)]
        expected = [source.render(row) for row in tasks[name].test]
        assert [(example.input, example.choices, example.label) for example in examples] == [
            (example.input, example.choices, example.label) for example in expected
        ]
    assert sum(len(task.templates) for task in tasks.values()) == len(mixed.templates)


def test_only_tuning_takes_the_group_as_one_task():
    assert expand("lab-train", as_mixture=True) == ["lab-train"]
    assert len(expand("lab-train")) > 1
    assert expand("lab", as_mixture=True) == expand("lab")


@pytest.mark.parametrize("limit", [3, 10])
def test_a_limit_that_takes_more_of_some_tasks_is_refused(limit):
    cell = Cell(learner="icl", model="m", task=TaskSpec(name="lab-train"), shots=0, limit=12)
    assert len({query.row_id for queries in plan(cell).queries for query in queries}) == 12
    with pytest.raises(TaskError, match=f"--limit {limit} takes more") as caught:
        plan(cell.model_copy(update={"limit": limit}))
    assert caught.value.hint == "a multiple of 6"
