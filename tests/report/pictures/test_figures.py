from dataclasses import replace

import pytest

from peftbench.report.pictures import figures
from peftbench.report.pictures.figures import Axis, decades
from peftbench.report.pictures.strips import strips
from peftbench.report.rows.table import build
from tests.report.pictured import TASKS, document, records
from tests.report.records import record


def by_name(table=None):
    return {one.name: one for one in figures.figures(table or document().tables[0])}


def test_places_on_an_axis_by_hand():
    log = Axis("", "log", 10, 1000, ())
    assert [log.place(value) for value in (10, 100, 1000)] == pytest.approx([0, 0.5, 1])
    shots = Axis("", "shots", 0, 8, ())
    assert [shots.place(value) for value in (0, 2, 8)] == pytest.approx([0, 0.5, 1])
    assert Axis("", "linear", 0.4, 0.8, ()).place(0.5) == pytest.approx(0.25)


def test_inference_has_each_row_and_what_is_cached_once_more():
    points = by_name()["inference"].points
    found = {(one.label, one.model, one.x) for one in points}
    assert ("ICL 32", "mini-gpt", 33 * 47_000_000) in found
    assert ("ICL 32, cached", "mini-gpt", 60_000_000) in found
    assert sum(one.is_hollow for one in points) == 2


def test_totals_are_training_and_all_queries():
    points = {(one.label, one.model): one for one in by_name()["total"].points}
    assert points["ia3", "mini-t0"].x == 9_100_000_000_000 + 1000 * 47_000_000
    assert points["ICL 4, cached", "mini-gpt"].x == 10**9 + 1000 * 60_000_000
    assert points["ICL 4", "mini-gpt"].once == 0


@pytest.mark.parametrize("queries", [1, 10**8])
def test_the_axis_of_totals_holds_every_point_for_any_number_of_queries(queries):
    scale = queries / figures.NUM_QUERIES
    for table in (document().tables[0], build([record("ia3", "mini-t0")])[0]):
        figure = by_name(table)["total"]
        for point in figure.points:
            assert figure.x.low * scale < point.once + queries * point.per_query < figure.x.high * scale


def test_parameters_are_of_what_was_tuned_and_lines_are_the_rest_at_its_best():
    figure = by_name()["parameters"]
    assert {(one.series, one.x) for one in figure.points} == {("ia3", 6144), ("lora", 6144)}
    assert [text for _, text in figure.levels] == ["zero-shot, mini-t0", "ICL 32, mini-gpt", "chance"]


def test_shots_are_joined_from_zero_on_for_each_model():
    figure = by_name()["examples"]
    (line,) = figure.lines
    assert [point.x for point in line.points] == [0, 4, 32]
    assert figure.x.ticks == ((0, "0"), (4, "4"), (32, "32"))
    # a single number of shots is no curve
    assert "examples" not in by_name(build([record()])[0])


@pytest.mark.parametrize(("places", "end"), [((), 1), ((95,), 0.65), ((60, 95), 0.35), ((30, 60, 95), 1)])
def test_the_name_of_a_line_stands_where_no_points_are(places, end):
    figure = by_name()["examples"]
    axis, ((chance, text),) = Axis("", "linear", 0, 100, ()), figure.levels
    points = tuple(replace(figure.points[0], x=x, y=chance) for x in places)
    assert figures.level_end(replace(figure, x=axis, points=points), chance, text) == end
    far = tuple(replace(point, y=chance + 0.2) for point in points)
    assert figures.level_end(replace(figure, x=axis, points=far), chance, text) == 1


def test_points_tell_what_the_table_tells():
    point = next(one for one in by_name()["inference"].points if one.series == "ia3")
    lines = point.details.splitlines()
    assert lines[0] == "ia3 on mini-t0, 32 shots"
    assert "n 240, seeds x templates 3 x 3" in lines
    assert "training ~9.1e12 FLOPs" in lines
    assert lines[-1].startswith("6 records: ")


def test_a_cost_that_is_absent_is_no_point():
    bare = record().model_copy(update={"costs": []})
    assert by_name(build([bare])[0]) == {}


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ((2e7, 3e10), ["1e8", "1e9", "1e10"]),
        ((3.8e3, 7.7e3), ["5e3", "1e4"]),
        ((1e3, 1e12), ["1e3", "1e5", "1e7", "1e9", "1e11"]),
    ],
)
def test_ticks_are_powers_of_ten_and_more_where_those_are_few(values, ticks):
    axis = decades("", values)
    assert [text for _, text in axis.ticks] == ticks
    assert all(axis.low <= value <= axis.high for value, _ in axis.ticks)


def test_spreads_have_each_answer_in_the_line_of_its_template():
    one = strips(document().tables[0])[0]
    assert one.task == sorted(TASKS)[0]
    band = next(band for band in one.bands if band.label == "ia3 mini-t0")
    mine = [each for each in records() if each.learned.method == "ia3" and each.task.name == one.task]
    assert sorted(answer.score for answer in band.answers) == sorted(r.accuracy() for e in mine for r in e.results)
    assert [answer.line for answer in band.answers] == [0, 1, 2] * 3
    low, high = band.quartiles
    assert low <= band.median <= high
    assert all(one.axis.low <= answer.score <= one.axis.high for answer in band.answers)


def test_rows_of_one_method_are_told_apart_by_what_differs():
    some = [record("lora", "mini-t0", method_config={"rank": rank, "norms": rank > 4}) for rank in (4, 8)]
    (table,) = build(some)
    assert [one.label for one in by_name(table)["inference"].points] == ["lora 4, no norms", "lora 8, norms"]
    assert [one.label for one in strips(table)[0].bands] == ["lora 4, no norms", "lora 8, norms"]
    (table,) = build([*some, record("lora", "mini-gpt")])
    assert [one.label for one in strips(table)[0].bands] == [
        "lora mini-gpt",
        "lora 4, no norms min..",
        "lora 8, norms mini-t0",
    ]


def test_an_answer_tells_the_order_of_its_shots():
    (table,) = build([record(), record(icl={"order": 2})])
    first, *_, last = (answer.details.splitlines()[0] for answer in strips(table)[0].bands[0].answers)
    assert (first, last) == ("template 0, '0', seed 0", "template 1, '1', seed 0, order 2")
    assert "n 300, seeds x orders x templates 1 x 2 x 2" in by_name(table)["inference"].points[0].details


def test_one_answer_has_no_quartiles():
    (one,) = strips(build([record(correct=(150,))])[0])
    assert one.bands[0].quartiles is None
