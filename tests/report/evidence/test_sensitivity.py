import statistics

from peftbench.report.formats import columns
from peftbench.report.notes import remarks
from peftbench.report.rows import fields, names, setting
from peftbench.report.rows.table import build
from tests.report.records import record, under

# By order, by template: right of 300.
RIGHT = {0: (150, 180), 1: (156, 180), 2: (162, 186)}


def in_orders(**more):
    return [
        record(shots=16, correct=right, **({"icl": {"order": order}} if order else {}), **more)
        for order, right in RIGHT.items()
    ]


def test_orders_of_the_same_shots_are_one_row_and_their_spread_is_said_apart():
    (table,) = build(in_orders())
    (row,) = table.rows
    assert (row.settings, row.num_seeds, row.num_orders) == ((), (1, 1), (3, 3))
    first, second = (statistics.stdev(column) / 3 for column in zip(*RIGHT.values(), strict=True))
    templates = statistics.fmean(statistics.stdev(right) / 3 for right in RIGHT.values())
    moves, normalised = remarks.sensitivity(table)
    assert f"{(first + second) / 2:.1f} over 3 orders of the same shots, {templates:.1f} over 2 templates" in moves
    assert "draws of the shots" not in moves
    assert normalised.endswith(f"token {statistics.fmean(sum(RIGHT.values(), ())) / 3:.1f}")


def test_a_row_in_one_order_has_nothing_to_say():
    (table,) = build([record(shots=16)])
    assert list(remarks.sensitivity(table)) == []


def test_options_off_are_not_in_a_rows_name_and_shots_as_a_prefix_are_a_method():
    some = [record(shots=16), record(shots=16, icl={"labels": "flipped"}), record(shots=16, icl={"as_prefix": True})]
    (table,) = build(some)
    assert {(row.method, names.settings(row)) for row in table.rows} == {
        ("ICL", ""),
        ("ICL", "labels=flipped"),
        (setting.PREFIX, ""),
    }


def test_orders_stand_beside_seeds_and_templates_where_rows_have_several():
    (table,) = build([*in_orders(), record("ICL", shots=4)])
    pooled = columns.summary(table.rows)[-1]
    assert (" ".join(pooled.header), pooled.values) == ("seeds x orders x templ.", ("1 x 1 x 2", "1 x 3 x 2"))
    assert fields.summary(table)[-1].title == "seeds x orders x templates"
    assert "over templates x seeds x orders of the shots;" in remarks.conventions([table])[0]
    (table,) = build([record("ICL", shots=4)])
    assert columns.summary(table.rows)[-1].values == ("1 x 2",)
    assert "orders" not in remarks.conventions([table])[0]


def test_another_metric_varies_in_its_own_values():
    made = [
        under("macro_f1", record(shots=16, icl={"order": order}, correct=(0,)), share=0.5 + order / 5)
        for order in (1, 2)
    ]
    (moves, normalised) = remarks.sensitivity(build(made)[0])
    values = [one.results[0].value() for one in made]
    assert (
        f"standard deviation of macro F1, in points, the others held: {100 * statistics.stdev(values):.1f} over"
        in moves
    )
    assert normalised.endswith(f"mean macro F1 by length normalisation: token {100 * statistics.fmean(values):.1f}")
