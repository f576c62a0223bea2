import statistics

from peftbench.report import setting
from peftbench.report.moods import notes
from peftbench.report.table import build
from tests.report.records import record

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
    assert (row.variant, row.num_seeds) == ("", "1")
    first, second = (statistics.stdev(column) / 3 for column in zip(*RIGHT.values(), strict=True))
    templates = statistics.fmean(statistics.stdev(right) / 3 for right in RIGHT.values())
    moves, normalised = notes(table)
    assert f"{(first + second) / 2:.1f} over 3 orders of the same shots, {templates:.1f} over 2 templates" in moves
    assert "draws of the shots" not in moves
    assert normalised.endswith(f"token {statistics.fmean(sum(RIGHT.values(), ())) / 3:.1f}")


def test_a_row_in_one_order_has_nothing_to_say():
    (table,) = build([record(shots=16)])
    assert list(notes(table)) == []


def test_options_off_are_not_in_a_rows_name_and_shots_as_a_prefix_are_a_method():
    some = [record(shots=16), record(shots=16, icl={"labels": "flipped"}), record(shots=16, icl={"as_prefix": True})]
    (table,) = build(some)
    assert {(row.method, row.variant) for row in table.rows} == {
        ("ICL", ""),
        ("ICL", "labels=flipped"),
        (setting.PREFIX, ""),
    }
