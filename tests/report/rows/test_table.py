import statistics

import pytest

from peftbench.report.formats import columns
from peftbench.report.rows import names
from peftbench.report.rows.table import build
from peftbench.store.record import Cost
from tests.report.records import record, under


def only(records):
    (table,) = build(records)
    return table


def test_a_row_is_the_mean_over_tasks_of_medians_over_templates_and_seeds():
    records = [
        record(task="a", seed=0, correct=(30, 30)),
        record(task="a", seed=1, correct=(90, 120)),
        record(task="b", seed=0, correct=(150, 150)),
        record(task="b", seed=1, correct=(150, 150)),
        *(record(task="c", seed=seed, correct=(60, 60)) for seed in (0, 1)),
    ]
    records[-2:] = [
        one.model_copy(update={"task": one.task.model_copy(update={"chance": 0.2})}) for one in records[-2:]
    ]
    (row,) = only(records).rows
    # task a: shares .1 .1 .3 .4, median .2, quartiles .1 and .325; task b: .5 throughout; task c: .2
    assert row.score == pytest.approx((0.2 + 0.5 + 0.2) / 3)
    assert row.iqr == pytest.approx((0.225 + 0 + 0) / 3)
    assert row.chance == pytest.approx((0.5 + 0.5 + 0.2) / 3)
    assert (row.num_seeds, row.num_templates, row.num_examples) == ((2, 2), (2, 2), 900)


def test_one_value_has_no_spread():
    (row,) = only([record(correct=(150,))]).rows
    assert row.iqr is None


def test_tasks_share_a_table_only_if_the_same_settings_ran_on_them():
    records = [record(task="a"), record(task="b"), record("ia3", "mini-t0", task="a")]
    tables = {table.tasks[0].name: table for table in build(records)}
    assert [row.method for row in tables["a"].rows] == ["ICL", "ia3"]
    assert [row.method for row in tables["b"].rows] == ["ICL"]


def test_other_rows_at_the_same_name_are_another_task():
    tables = build([record(num_examples=300), record(num_examples=200, limit=200, seed=1)])
    assert [table.tasks[0].num_examples for table in tables] == [200, 300]
    assert [len(table.tasks) for table in tables] == [1, 1]


def test_unlike_settings_are_never_pooled_and_say_what_differs():
    records = [
        record("lora", "mini-t0", method_config={"rank": 4}, training={"lr": 0.01}),
        record("lora", "mini-t0", method_config={"rank": 8}, training={"lr": 0.01}),
    ]
    assert [names.settings(row) for row in only(records).rows] == ["rank=4", "rank=8"]


def test_rows_come_by_model_then_zero_shot_then_icl_then_methods():
    records = [
        record("bitfit", "mini-t0"),
        record("peft:IA3", "mini-t0"),
        record("lora", "mini-t0"),
        record("ICL", "mini-t0"),
        record("ICL", "mini-t0", shots=0),
        record("ICL", "mini-gpt"),
    ]
    expected = ["ICL", "zero-shot", "ICL", "lora", "bitfit", "peft:IA3"]
    assert [row.method for row in only(records).rows] == expected


def test_costs_are_means_over_tasks_of_means_over_seeds():
    records = [
        record("ia3", "mini-t0", "a", seed=0, training_flops=100),
        record("ia3", "mini-t0", "a", seed=1, training_flops=300),
        record("ia3", "mini-t0", "b", seed=0, training_flops=600),
    ]
    (row,) = only(records).rows
    assert row.cost("training_flops") == statistics.fmean([(100 + 300) / 2, 600])


def test_a_failed_measurement_stays_absent_with_its_reason():
    whole = record()
    failed = Cost(name="disk_bytes", value=None, unit="bytes", kind="measured", convention="c", reason="no disk")
    broken = whole.model_copy(update={"costs": [*whole.costs[:2], failed], "seed": 1})
    (row,) = only([whole, broken]).rows
    assert (row.cost("disk_bytes"), row.costs["disk_bytes"].reason) == (None, "no disk")


def test_kinds_are_never_mixed_in_one_mean():
    whole = record("ia3", "mini-t0")
    counted = whole.costs[1].model_copy(update={"kind": "counted", "value": 1})
    other = whole.model_copy(update={"costs": [*whole.costs, counted], "seed": 1})
    (row,) = only([whole, other]).rows
    assert (row.costs["training_flops"].kind, row.cost("training_flops")) == ("estimated", 9_100_000_000_000)


def test_fewer_shots_than_asked_show_in_the_row():
    records = [record(task="a", used=20), record(task="b", used=24)]
    row = only(records).rows[0]
    assert (row.shots, row.used_shots) == ((32, 32), (20, 24))
    assert names.shots(row) == "20-24 of 32"


def test_equal_settings_under_another_name_have_a_place_of_their_own():
    plain, prefix = record(shots=16), record(shots=16, icl={"as_prefix": True})
    for records in ([plain, prefix], [prefix, plain]):
        assert [row.method for row in only(records).rows] == ["ICL", "ICL->prefix"]


def test_tasks_of_unlike_metrics_never_share_a_table():
    metrics = {"a": "accuracy", "b": "macro_f1", "c": "accuracy"}
    tables = build([under(metric, record(task=task), size=1) for task, metric in metrics.items()])
    assert [(table.metric.name, [task.name for task in table.tasks]) for table in tables] == [
        ("accuracy", ["a", "c"]),
        ("macro_f1", ["b"]),
    ]
    headers = [" ".join(column.header) for column in columns.summary(tables[1].rows)]
    assert headers[-6:] == ["macro F1 % (IQR)", "95 % interval", "chance", "accuracy %", "n", "seeds x templ."]


def test_a_name_that_stands_for_two_sets_of_rows_is_in_two_tables():
    records = [record(task=task, num_examples=n) for task, n in (("a", 300), ("a", 200), ("b", 300))]
    found = [[(task.name, task.num_examples) for task in table.tasks] for table in build(records)]
    assert found == [[("a", 200), ("b", 300)], [("a", 300)]]
