"""What was tuned on one task and answers others: a row of its own, beside full fine-tuning on the same task."""

from peftbench.report.formats import text
from peftbench.report.formats.columns import against_full
from peftbench.report.notes import commands
from peftbench.report.notes.document import compose
from peftbench.report.rows.table import build
from peftbench.report.rows.transfer import against_full as pairs
from peftbench.report.rows.transfer import source
from tests.report.records import record

TASKS = ("mr", "cr")


def tuned(method, correct, task, **identity):
    return record(
        method, "mini-gpt", task, correct=correct, source_task="sst2", source_task_sha256="a" * 64, **identity
    )


def records():
    rights = {"full": {"mr": (210,), "cr": (240,)}, "lora": {"mr": (225,), "cr": (234,)}}
    return [tuned(method, right[task], task) for method, right in rights.items() for task in TASKS]


def test_a_row_says_what_it_was_tuned_on_and_tasks_of_one_source_share_a_table():
    own = [record("lora", "mini-gpt", task, correct=(150,)) for task in TASKS]
    (table,) = build([*records(), *own])
    assert [(row.method, source(row)) for row in table.rows] == [("lora", None), ("lora", "sst2"), ("full", "sst2")]


def test_the_difference_to_full_fine_tuning_on_the_same_task_is_by_hand():
    (table,) = build(records())
    columns = {column.name: column.texts for column in against_full(table)}
    assert columns["method"] == ("lora tuned on sst2",)
    assert columns["mr_minus_full"] == ("+5.0",)  # 225 of 300 less 210 of 300
    assert columns["cr_minus_full"] == ("-2.0",)  # 234 of 300 less 240 of 300
    assert "minus full" in text.markdown(compose(records()))


def test_where_full_fine_tuning_was_of_another_task_or_model_or_there_twice_there_is_no_difference():
    (table,) = build([part for part in records() if part.learned.method != "full"])
    assert against_full(table) == []
    others = [record("full", "mini-gpt", task, correct=(240,)) for task in TASKS]  # on the tasks themselves
    assert pairs(build([*(part for part in records() if part.learned.method == "lora"), *others])[0].rows) == []
    twice = [tuned("full", (200,), task, training={"lr": 0.1}) for task in TASKS]
    assert pairs(build([*records(), *twice])[0].rows) == []


def test_the_command_of_a_row_tunes_on_its_source_and_names_its_targets():
    (table,) = build(records())
    (command,) = commands.again(table, next(row for row in table.rows if row.method == "lora"))
    assert command == "peftbench tune --model mini-gpt --method lora --task sst2 --transfer-to cr,mr"
