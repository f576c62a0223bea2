"""What a table, its pictures and its notes show of a score comes from the task's metric."""

import pytest

from peftbench import registry
from peftbench.report.evidence.advise import advise
from peftbench.report.formats import advise_text, columns
from peftbench.report.notes import remarks
from peftbench.report.pictures import figures
from peftbench.report.pictures.strips import strips
from peftbench.report.rows import fields, texts
from peftbench.report.rows.sort import ordered
from peftbench.report.rows.table import build
from tests.report.records import record, under


@pytest.fixture
def error_rate(error):
    """A table of a metric of which less is better."""
    shares = (("ICL", 0.9), ("ia3", 0.4))
    (table,) = build([under(error, record(method, "mini-t0"), share) for method, share in shares])
    return table


def test_its_name_and_unit_stand_in_tables_pages_pictures_and_notes(error_rate):
    headers = [" ".join(column.header) for column in columns.summary(error_rate.rows)]
    assert "error per cent (IQR)" in headers
    assert ("error", "per cent") in [(field.title, field.unit) for field in fields.summary(error_rate)]
    drawn = figures.figures(error_rate)
    assert {figure.y.title for figure in drawn} == {"error per cent"}
    assert {figure.title for figure in drawn} >= {"Error against inference FLOPs"}
    score = f"{100 * error_rate.best.score:.1f}"
    assert drawn[0].points[0].details.splitlines()[1] == f"error {score} per cent, chance 50.0"
    assert {strip.axis.title for strip in strips(error_rate)} == {"error per cent"}
    (strip,) = strips(error_rate)
    result = error_rate.best.records[0].results[0]
    told = f"error {100 * result.value():.1f} per cent, {result.num_correct['token']} of 300 right"
    assert strip.bands[0].answers[0].details.splitlines()[1] == told
    assert remarks.conventions([error_rate])[0].startswith("error: median (interquartile range)")
    assert f"ICL on mini-t0, 32 shots ({score} per cent)" in advise_text.question(advise(error_rate, 1))
    assert headers[headers.index("chance") + 1] == "accuracy %"


def test_the_best_row_is_the_one_that_its_direction_says(error_rate):
    assert error_rate.best.method == "ICL"
    assert error_rate.best.score < 0.2
    (table,) = ordered([error_rate], "error")
    assert [row.method for row in table.rows] == ["ICL", "ia3"]


def test_accuracies_are_better_the_higher():
    (table,) = build([record("ICL", "mini-t0", correct=(100,)), record("ia3", "mini-t0", correct=(200,))])
    assert (table.metric, table.best.method) == (registry.metric("accuracy"), "ia3")


@pytest.mark.parametrize("name", registry.METRICS)
def test_a_row_has_the_values_of_its_tasks_metric(name):
    made = [under(name, record(seed=seed, correct=(0,))) for seed in range(3)]
    (table,) = build(made)
    assert table.rows[0].score == sorted(one.results[0].value() for one in made)[1]
    assert (table.metric, table.rows[0].chance) == (registry.metric(name), made[0].task.chance)


@pytest.mark.parametrize("name", registry.METRICS)
def test_a_metric_has_the_name_that_the_registry_finds_it_by(name):
    assert registry.metric(name).name == name


def test_records_of_before_metrics_were_computed_hold_accuracies_whatever_their_task_named():
    made = record()
    old = made.model_copy(update={"task": made.task.model_copy(update={"metric": "f1"})})
    assert old.metric == "accuracy"
    (table,) = build([old])
    assert (table.metric.title, table.rows[0].score) == ("accuracy", 0.55)


def test_values_below_zero_have_room_on_the_axis_and_a_minus_of_their_own():
    made = under("matthews", record(correct=(0,)), share=0)
    result = made.results[0].model_copy(update={"values": {"token": -0.4}})
    (table,) = build([made.model_copy(update={"results": [result]})])
    assert figures.figures(table)[0].y.low < -0.4
    assert strips(table)[0].axis.low < -0.4
    assert texts.interval((-0.4, 0.1)) == "-40.0 to 10.0"
    assert texts.interval((0.4, 0.6)) == "40.0-60.0"
