"""Learning curves: which rows of a table belong together, where they stand, and what they are called."""

from peftbench.report.pictures.figures import figures, named_lines
from peftbench.report.rows.curves import curves
from peftbench.report.rows.table import build
from tests.report.records import record


def chosen(select, shots, pool, num_rows=None, **more):
    """A record of shots chosen from a pool, or from all of `num_rows`."""
    options = {"select": select} | ({} if pool is None else {"pool": pool})
    made = record("ICL", shots=shots, icl=options, **more)
    return made.model_copy(update={"learned": made.learned.model_copy(update={"chosen_from": pool or num_rows})})


def table(*records):
    (built,) = build([*records])
    return built


def points(*records):
    """The title of each curve -> its (labelled examples, shots)."""
    drawn = curves(table(*records))
    return {curve.title: [(row.num_labelled, row.num_shots) for row in curve.points] for curve in drawn}


ZERO = record("ICL", shots=0)
DRAWN = [record("ICL", shots=shots, draw="plain") for shots in (4, 16)]
BALANCED = [record("ICL", shots=shots, draw="balanced") for shots in (4, 16)]


def test_chosen_shots_stand_at_the_rows_that_they_were_chosen_from():
    made = [chosen("bm25", 4, pool) for pool in (16, 64)] + [chosen("bm25", 4, None, num_rows=400)]
    made += [chosen("bm25", 8, 64), chosen("embedding", 4, 64)]
    assert points(ZERO, *made) == {
        "ICL (by bm25, 4 shots) on mini-gpt": [(0, 0), (16, 4), (64, 4), (400, 4)],
        "ICL (by bm25, 8 shots) on mini-gpt": [(0, 0), (64, 8)],
        "ICL (by embedding, 4 shots) on mini-gpt": [(0, 0), (64, 4)],
    }


def test_a_setting_that_only_some_numbers_of_shots_ran_keeps_a_curve_whole():
    """With 4 shots nothing but the draw tells rows apart, with 16 there are chosen ones, too."""
    made = [*DRAWN, *BALANCED, record("ICL", shots=64, draw="plain"), chosen("bm25", 16, 64, draw="plain")]
    assert points(*made) == {
        "ICL on mini-gpt": [(4, 4), (16, 16), (64, 64)],
        "ICL (draw=balanced) on mini-gpt": [(4, 4), (16, 16)],
    }


def test_tuned_curves_begin_with_the_plain_model_whatever_else_is_there():
    calibrated = record("ICL", shots=0, icl={"calibrate": True})
    tuned = [record("lora", shots=shots, training={"lr": rate}) for shots in (4, 16) for rate in (0.1, 0.2)]
    assert points(calibrated, ZERO, *tuned) == {
        f"lora (lr={rate}) on mini-gpt": [(0, 0), (4, 4), (16, 16)] for rate in (0.1, 0.2)
    }


def test_lines_of_one_colour_and_shape_differ_in_their_dashes_and_have_a_legend():
    built = table(ZERO, *DRAWN, *BALANCED, *(record("lora", shots=shots) for shots in (4, 16)))
    (figure,) = (figure for figure in figures(built) if figure.name == "examples")
    dashes = {line.name: line.dashes for line in figure.lines}
    assert dashes == {"ICL (draw=balanced)": 0, "ICL": 1, "lora": 0}
    assert named_lines(figure) == figure.lines
    assert [point.label for point in figure.lines[1].points] == ["", "", "ICL"]
    (plain,) = (figure for figure in figures(table(ZERO, *DRAWN)) if figure.name == "examples")
    assert not named_lines(plain)


def test_the_picture_of_totals_joins_the_same_rows_at_what_they_cost():
    built = table(ZERO, *DRAWN)
    (examples, total) = (next(f for f in figures(built) if f.name == name) for name in ("examples", "total"))
    assert [[point.details for point in line.points] for line in total.lines] == [
        [point.details for point in line.points] for line in examples.lines
    ]
    (line,) = total.lines
    assert all(point in total.points for point in line.points)
    assert [point.x for point in line.points] == [point.once + 1000 * point.per_query for point in line.points]


def test_rows_that_a_model_chose_before_all_queries_are_as_many_labels_as_shots():
    """What k-means reads to choose them has no labels."""
    made = record("ICL", shots=4, draw="kmeans")
    drawn = made.model_copy(update={"learned": made.learned.model_copy(update={"chosen_from": 400})})
    assert points(ZERO, drawn) == {"ICL on mini-gpt": [(0, 0), (4, 4)]}
