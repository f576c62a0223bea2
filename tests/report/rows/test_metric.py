"""What a table, its pictures and its notes show of a score comes from the task's metric."""

import pytest

from peftbench.report.evidence.advise import advise
from peftbench.report.formats import advise_text, columns
from peftbench.report.notes import remarks
from peftbench.report.pictures import figures
from peftbench.report.pictures.strips import strips
from peftbench.report.rows import fields, metric
from peftbench.report.rows.metric import Metric
from peftbench.report.rows.sort import ordered
from peftbench.report.rows.table import build
from tests.report.records import record


@pytest.fixture
def error_rate(monkeypatch):
    """A table of a metric of which less is better."""
    monkeypatch.setitem(metric.METRICS, "error", Metric("error", "per cent", best_is_high=False, lowest=-1.0))
    made = [record("ICL", "mini-t0", correct=(100, 110)), record("ia3", "mini-t0", correct=(200, 210))]
    task = made[0].task.model_copy(update={"metric": "error"})
    (table,) = build([one.model_copy(update={"task": task}) for one in made])
    return table


def test_its_name_and_unit_stand_in_tables_pages_pictures_and_notes(error_rate):
    headers = [" ".join(column.header) for column in columns.summary(error_rate.rows)]
    assert "error per cent (IQR)" in headers
    assert ("error", "per cent") in [(field.title, field.unit) for field in fields.summary(error_rate)]
    drawn = figures.figures(error_rate)
    assert {figure.y.title for figure in drawn} == {"error per cent"}
    assert {figure.title for figure in drawn} >= {"Error against inference FLOPs"}
    assert drawn[0].points[0].details.splitlines()[1] == "error 35.0 per cent, chance 50.0"
    assert {strip.axis.title for strip in strips(error_rate)} == {"error per cent"}
    assert remarks.conventions([error_rate])[0].startswith("error: median (interquartile range)")
    assert "less accurate than ICL on mini-t0, 32 shots (35.0 per cent)" in advise_text.question(advise(error_rate, 1))
    assert not any("accuracy" in text for text in headers)


def test_the_best_row_is_the_one_that_its_direction_says(error_rate):
    assert (error_rate.best.method, error_rate.best.score) == ("ICL", 0.35)
    (table,) = ordered([error_rate], "error")
    assert [row.method for row in table.rows] == ["ICL", "ia3"]


def test_accuracies_are_better_the_higher():
    (table,) = build([record("ICL", "mini-t0", correct=(100,)), record("ia3", "mini-t0", correct=(200,))])
    assert (table.metric, table.best.method) == (metric.ACCURACY, "ia3")
