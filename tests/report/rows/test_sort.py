import pytest

from peftbench.errors import RecordError
from peftbench.report.rows.sort import ordered as ordered_by
from peftbench.report.rows.table import build
from tests.report.pictured import document
from tests.report.records import record


def ordered(name):
    (table,) = ordered_by(document().tables, name)
    return table.rows


def test_accuracies_are_best_first():
    for name, value in (("accuracy", lambda row: row.score), ("interval", lambda row: row.interval[0])):
        values = [value(row) for row in ordered(name)]
        assert values == sorted(values, reverse=True)


def test_costs_are_lowest_first_and_absent_ones_last():
    values = [row.cost("cached_inference_flops_per_example") for row in ordered("cached")]
    assert values == [60_000_000, 60_000_000, None, None, None, None]
    values = [row.cost("training_flops") for row in ordered("training")]
    assert values == sorted(values)


def test_words_are_in_order_of_the_alphabet():
    assert [row.method for row in ordered("method")] == ["ICL", "ICL", "ia3", "lora", "zero-shot", "zero-shot"]


def test_a_task_is_a_column_of_the_tables_that_have_it():
    tables = build([record(task="a"), record("ia3", "mini-t0", task="a"), record(task="b")])
    sorted_by_b = ordered_by(tables, "accuracy")
    assert [len(table.rows) for table in sorted_by_b] == [len(table.rows) for table in tables]
    both = [record(method, "mini-t0", task) for method in ("ICL", "ia3") for task in ("a", "b")]
    other, sorted_by_a = ordered_by(build([*both, record(task="c"), record("ia3", task="c")]), "a")[::-1]
    assert [row.method for row in other.rows] == ["ICL", "ia3"]
    assert len(sorted_by_a.rows) == 2
    values = [row.spreads[task].median for row in ordered("nli") for task in row.spreads if task.name == "nli"]
    assert values == sorted(values, reverse=True)


def test_a_column_that_does_not_exist_names_the_nearest():
    with pytest.raises(RecordError, match="unknown column 'acuracy'") as caught:
        ordered("acuracy")
    assert caught.value.hint.startswith("did you mean 'accuracy'? known: method, model, shots, inference,")
